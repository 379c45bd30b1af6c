"""An application that is killed repeatedly inside its transactions has exactly one output per input.

Similar to the system test of Kafka Streams: continuous random input, SIGKILL at every failpoint of a commit and at
random times, and a verifier that shares no code with the engine. With at-least-once outputs may repeat, nothing may be
lost, and state still counts nothing twice.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .eos import check, trial
from .eos.applications import INPUT, PARTITIONS, Application, EchoMinSum, MaxCount
from .eos.deaths import PLACES, SNAPSHOT_PLACES, plan
from .eos.every_operator import EveryOperator
from .eos.feed import Feed
from .eos.trial import Trial
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def survive(
    stage: Stage, capsys: pytest.CaptureFixture[str], guarantee: str, *, rounds: int, at_random: int
) -> tuple[int, list[str]]:
    """Run both applications in parallel through their deaths; return the number of deaths and the figures."""
    seed, chance = trial.seeded()
    stage.topics(INPUT, partitions=PARTITIONS)
    trials = [
        trial.Trial(stage, application, guarantee=guarantee, commit_interval="400ms")
        for application in (EchoMinSum(), MaxCount())
    ]
    seconds = trial.endure(trials, [plan(chance, rounds=rounds, at_random=at_random) for _ in trials], seed)
    all_figures: list[str] = []
    for one in trials:
        findings, figures = one.judge()
        replays = one.replays()
        all_figures.append(f"{figures} in {seconds:.0f} s, {one.ordeal.figures()}; {trial.replay_figures(replays)}")
        with capsys.disabled():
            print(f"\nseed {seed}, {all_figures[-1]}")
        findings += check.tails_only(replays)
        assert findings == [], f"seed {seed}: " + "\n".join(findings)
        assert check.replayed_share(replays) < 0.5
        assert [replay.replayed for replay in replays if replay.life == len(one.program.lives)] == [
            0
        ] * one.application.tasks, "a start after a clean stop has nothing to replay"
        assert set(one.ordeal.died) == {*PLACES, "random"}
    return sum(sum(one.ordeal.died.values()) for one in trials), all_figures


@pytest.mark.timeout(480)
def test_exactly_once_through_sixty_deaths(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    deaths, _ = survive(stage, capsys, "exactly_once", rounds=2, at_random=12)
    assert deaths >= 60


@pytest.mark.timeout(240)
def test_at_least_once_through_twenty_four_deaths(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    deaths, figures = survive(stage, capsys, "at_least_once", rounds=1, at_random=3)
    assert deaths >= 24
    assert any("repeated" in one for one in figures), "no death was at a point where at-least-once repeats"


@pytest.mark.timeout(480)
def test_every_step_with_state_through_a_dozen_deaths(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    seed, chance = trial.seeded()
    stage.topics(INPUT, partitions=PARTITIONS)
    one = trial.Trial(stage, EveryOperator(), guarantee="exactly_once", commit_interval="400ms")
    with Feed(stage.broker, stage.name(INPUT), rate=100, seed=seed, keys=40):
        one.suffer(plan(chance, rounds=1, at_random=3))
    findings, figures = one.judge()
    with capsys.disabled():
        print(f"\nseed {seed}, {figures}, {one.ordeal.figures()}")
    assert findings == [], f"seed {seed}: " + "\n".join(findings)
    assert set(one.ordeal.died) == {*PLACES, "random"}


def without_changelogs(stage: Stage, applications: list[Application], guarantee: str, snapshots: Path) -> list[Trial]:
    stage.topics(INPUT, partitions=PARTITIONS)
    return [
        trial.Trial(
            stage,
            application,
            guarantee=guarantee,
            durability="snapshot",
            snapshots=f"file://{snapshots}",
            snapshot_interval="1s",
            session_timeout="10s",  # a new machine does not know its former member id
        )
        for application in applications
    ]


def judged_on_a_new_machine(trials: list[Trial], seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that the results and the contents of snapshots are correct."""
    for one in trials:
        findings, figures = one.judge()
        with capsys.disabled():
            print(f"\nseed {seed}, {figures}, {one.ordeal.figures()}, {one.downloads()} restores from snapshots")
        assert findings == [], f"seed {seed}: " + "\n".join(findings)
        shutil.rmtree(one.program.directory / "state" / one.group)
        life = one.start()
        one.catch_up(life)
        one.stop(life)
        assert one.judge()[0] == [], f"seed {seed}"


@pytest.mark.timeout(360)
def test_exactly_once_without_changelogs(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed, chance = trial.seeded()
    trials = without_changelogs(stage, [EchoMinSum(), MaxCount()], "exactly_once", tmp_path / "snapshots")
    trial.endure(trials, [plan(chance, rounds=1, at_random=3, places=SNAPSHOT_PLACES) for _ in trials], seed)
    judged_on_a_new_machine(trials, seed, capsys)
    assert [set(one.ordeal.died) for one in trials] == [{*SNAPSHOT_PLACES, "random"}] * 2


@pytest.mark.timeout(240)
def test_at_least_once_without_changelogs(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outputs may repeat; state never counts a record of an input topic twice."""
    seed, chance = trial.seeded()
    trials = without_changelogs(stage, [EchoMinSum()], "at_least_once", tmp_path / "snapshots")
    places = ("after-manifest", "during-download", "during-commit-before", "after-commit-before-settle")
    trial.endure(trials, [plan(chance, rounds=1, at_random=1, places=places)], seed)
    judged_on_a_new_machine(trials, seed, capsys)
