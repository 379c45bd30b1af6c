"""`durability="snapshot"` with several instances, and with an unavailable snapshot storage.

Kills at each failpoint of a commit are tested in `test_exactly_once.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers import client

from .eos import trial
from .eos.applications import INPUT, PARTITIONS, EchoMinSum
from .fleet import Fleet, readied
from .stage import Stage
from .watch import Moment

pytestmark = [pytest.mark.slow, pytest.mark.kafka]


@pytest.mark.timeout(180)
def test_tasks_move_between_instances_and_standbys_take_over(stage: Stage, tmp_path: Path) -> None:
    snapshots = f"file://{tmp_path}/snapshots"
    with Fleet(stage, durability="snapshot", snapshots=snapshots, snapshot_interval="1s", standbys=1) as fleet:
        one, two = fleet.instance("one"), fleet.instance("two")
        [first] = fleet.start(one)
        second = two.start()
        second.wait_for('"replayed":', 60)
        fleet.wait_until_shared(2)
        fleet.watch.wait_until_back(Moment(), 60)
        assert len(readied(second)) == PARTITIONS // 2
        killed = fleet.kill_in_transaction(second)
        fleet.watch.wait_until_back(killed, 60)
        again = two.start()
        fleet.wait_until_shared(2)
        fleet.stop([first, again])
        fleet.judge()
        assert not [name for name in stage.internal() if name.endswith("-changelog")]


@pytest.mark.timeout(180)
def test_a_snapshot_storage_that_is_unavailable_for_longer_than_a_transaction_timeout(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commits wait; then the transaction is aborted, and input is read again when the storage is back."""
    seed, _ = trial.seeded()
    stage.topics(INPUT, partitions=PARTITIONS)
    snapshots = tmp_path / "snapshots"
    one = trial.Trial(
        stage,
        EchoMinSum(),
        guarantee="exactly_once",
        durability="snapshot",
        snapshots=f"file://{snapshots}",
        snapshot_interval="1s",
        rebalance_timeout="6s",
        transaction_timeout="12s",
    )
    with trial.source(stage, seed):
        life = one.start()
        one.catch_up(life)
        snapshots.rename(tmp_path / "away")
        snapshots.write_text("no directory")
        life.wait_for("the snapshots of this commit are not stored after .* and the broker ends the transaction", 30)
        before = client.committed_offsets(stage.broker, one.group, stage.name(INPUT))
        life.wait_for("the snapshot that the committed offsets name cannot be restored: .* trying again", 30)
        assert client.committed_offsets(stage.broker, one.group, stage.name(INPUT)) == before
        snapshots.unlink()
        (tmp_path / "away").rename(snapshots)
        one.catch_up(life)
        one.stop(life)
    findings, figures = one.judge()
    with capsys.disabled():
        print(f"\nseed {seed}, {figures}, {one.downloads()} restores from snapshots")
    assert findings == []
    assert len(one.program.lives) == 1, "the process did not restart"
