"""Killed again and again inside its transactions, an application still has one output for every input.

In the manner of Kafka Streams' own system test: random input without pause, SIGKILL at every named place of a commit
and at random, and a verifier that shares no code with the engine. Under at-least-once outputs may repeat, nothing may
be lost, and state is still not counted twice.
"""

from __future__ import annotations

import pytest

from .eos import check, trial
from .eos.applications import INPUT, PARTITIONS, EchoMinSum, MaxCount
from .eos.deaths import PLACES, plan
from .eos.every_operator import EveryOperator
from .eos.feed import Feed
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


def survive(
    stage: Stage, capsys: pytest.CaptureFixture[str], guarantee: str, *, rounds: int, at_random: int
) -> tuple[int, list[str]]:
    """Both applications side by side through their deaths; how many there were, and the figures."""
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
    assert any("repeated" in one for one in figures), "no death hit a place where at-least-once repeats"


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
