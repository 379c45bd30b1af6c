"""An application that repeatedly loses its machine continues from snapshots, exactly once.

It is killed while it takes, uploads or downloads a snapshot, and at random times; after each death its state directory
is removed, as on a new machine. The verifier is that of `test_exactly_once.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.brokers import client
from tests.object_stores.places import Places
from tests.support.maven import Unavailable
from tidemill.engine.snapshots.choice import RECORD_BYTES, WORTH_ASKING

from .eos import trial
from .eos.applications import INPUT, PARTITIONS, EchoMinSum
from .eos.deaths import Death
from .stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

RESTORES = "restoring from snapshot"
TASKS = {f"0_{number}" for number in range(PARTITIONS)}
LONG = 12 * WORTH_ASKING // RECORD_BYTES // 10
"""The number of changelog records of a task from which a snapshot is downloaded, and some more."""


@pytest.mark.timeout(360)
@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
def test_machines_that_are_lost_during_a_snapshot(
    stage: Stage, guarantee: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed, chance = trial.seeded()
    stage.topics(INPUT, partitions=PARTITIONS)
    one = trial.Trial(
        stage,
        EchoMinSum(),
        guarantee=guarantee,
        commit_interval="400ms",
        snapshots=f"file://{tmp_path}/snapshots",
        snapshot_interval="1s",
        session_timeout="6s",  # a new machine does not know its former member id
    )
    deaths = [
        *(Death("during-snapshot", nth=nth) for nth in (1, 3)),
        *(Death("during-upload", nth=nth) for nth in (1, 4)),
        Death(working=True, after=2.0),
        *(Death("during-download", nth=nth) for nth in (1, 2)),
        Death(working=True, after=1.0),
    ]
    chance.shuffle(deaths)
    with trial.source(stage, seed, rate=4000):
        for death in (None, *deaths, Death("during-upload", nth=6), None):
            if one.program.lives:
                shutil.rmtree(one.program.directory / "state")  # a new machine
            if death is None:
                life = one.start()
                client.wait_for(lambda: changelogs_are_long(one), 120, "changelogs that are worth a snapshot")
                one.catch_up(life)
                one.stop(life)
            else:
                one.ordeal.live(death)
    findings, figures = one.judge()
    with capsys.disabled():
        print(f"\nseed {seed}, {figures}, {one.ordeal.figures()}")
    assert findings == [], f"seed {seed}: " + "\n".join(findings)
    assert any(RESTORES in str(event) for event in one.program.lives[-1].events())
    last = [replay for replay in one.replays() if replay.life == len(one.program.lives)]
    assert sum(replay.replayed for replay in last) < sum(replay.length for replay in last) / 2


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "scheme",
    [
        pytest.param("s3", marks=pytest.mark.xdist_group("s3")),
        pytest.param("hdfs", marks=pytest.mark.xdist_group("hdfs")),
    ],
)
def test_a_new_machine_continues_from_snapshots_in_a_real_object_store(
    stage: Stage, places: Places, scheme: str
) -> None:
    try:
        place = places.at(scheme, stage.app_id)
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    stage.topics(INPUT, partitions=PARTITIONS)
    one = trial.Trial(
        stage,
        EchoMinSum(),
        guarantee="exactly_once",
        snapshots=place.url,
        snapshot_interval="1s",
        session_timeout="6s",
    )
    one.program.variables.update(place.environment)
    with trial.source(stage, seed=1, rate=6000):
        life = one.start()
        client.wait_for(lambda: changelogs_are_long(one), 120, "changelogs that are worth a snapshot")
        taken = len(life.events())
        client.wait_for(
            lambda: {event["task"] for event in life.events()[taken:] if "uploaded" in event} == TASKS, 60, "snapshots"
        )
        one.stop(life)
        shutil.rmtree(one.program.directory / "state")  # a new machine
        life = one.start()
        one.catch_up(life)
        one.stop(life)
    findings, _ = one.judge()
    assert findings == []
    assert sum(RESTORES in str(event) for event in life.events()) == PARTITIONS
    assert "WARNING" not in life.log


def changelogs_are_long(one: trial.Trial) -> bool:
    """Return whether every task would replay so much that it downloads a snapshot first."""
    ends = [client.end_offsets(one.stage.broker, f"{one.group}-{name}-changelog") for name in EchoMinSum.folds]
    return all(sum(end[partition] for end in ends) >= LONG for partition in range(PARTITIONS))
