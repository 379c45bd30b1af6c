"""Simulation of `durability="snapshot"`: after deaths and pauses, state matches the committed offsets."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.examples import seeds
from tidemill.engine.restore.snapshot_restore import SnapshotRestore
from tidemill.engine.snapshots.commit_snapshots import CommitSnapshots
from tidemill.engine.snapshots.downloads import TaskDownload

from .driver import Violation
from .process import Process
from .scenario import Scenario, scenario

SEEDS = seeds(3, fast=1)
SOON = 800
PLACES = (
    "failpoint after-local-write",
    "failpoint during-snapshot",
    "bucket put",
    "failpoint during-upload",
    "failpoint before-manifest",
    "bucket put new",
    "failpoint after-manifest",
    "failpoint before-produce",
    "send offsets ->",
    "failpoint after-send-offsets",
    "commit ->",
    "commit <-",
    "failpoint after-commit-before-settle",
    "failpoint during-settle",
)


def at_work(run: Scenario, place: str) -> Process:
    """Return a process that has committed some snapshots, and has reached a point of its next commit."""
    first = run.start_process()
    for _ in range(20):
        run.feed()
    run.until_processed()
    for _ in range(20):
        run.feed()
    run.run_to(first, place)
    return first


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("disk", ["its own", "another"])
def test_a_death_during_a_commit_keeps_all_of_it_or_nothing(seed: int, place: str, disk: str) -> None:
    with scenario(seed, durability="snapshot") as run:
        first = at_work(run, place)
        run.kill_and_remove(first)
        run.start_process(first.disk if disk == "its own" else None)
        for _ in range(10):
            run.feed()
        run.until_processed()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("place", PLACES)
def test_a_former_owner_that_continues_its_commit_does_no_harm(seed: int, place: str) -> None:
    with scenario(seed, durability="snapshot") as run:
        first = at_work(run, place)
        second = run.start_process()
        first.frozen = True
        run.remove(first.member)
        run.until(lambda: len(second.tasks) == 2 and run.check.drained(), 2 * SOON, "another one has done its work")
        for _ in range(20):
            run.feed()
        run.run_for(60)
        first.frozen = False
        run.until(lambda: len(first.tasks) == 1, 2 * SOON, "it has a task again")
        run.until_processed()


@pytest.mark.parametrize("seed", SEEDS)
def test_work_caused_by_the_wall_clock_is_not_lost_with_its_commit(seed: int) -> None:
    """Two commits have the same offsets, and differ only in the snapshot in their metadata."""
    with scenario(seed, program="ticking", partitions=1, durability="snapshot") as run:
        first = run.start_process()
        run.feed()
        run.until_processed()
        run.run_for(300)
        run.run_to(first, "failpoint after-manifest")
        run.kill_and_remove(first)
        run.start_process(first.disk)
        run.run_for(SOON)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit", [1_000, 60_000])
def test_commits_wait_for_an_unavailable_snapshot_storage(seed: int, limit: int) -> None:
    """If it takes longer than a transaction may be open, input is read again from the last commit."""
    with scenario(
        seed, durability="snapshot", settings={"transaction_timeout": limit, "rebalance_timeout": 400}
    ) as run:
        first = run.start_process()
        for _ in range(10):
            run.feed()
        run.until_processed()
        assert run.bucket is not None
        run.bucket.lose(3_000)
        for _ in range(20):
            run.feed()
        run.run_for(2_500)
        run.check_that(not run.check.drained(), "nothing is committed without a snapshot")
        run.until(run.check.drained, 3_000, "everything is committed")
        run.check_that(first in run.processes, "the process has gone on")
        run.check_that(first.membership.status.epoch == 1, "and has kept its membership")
        lates = [entry for entry in run.world.trace if entry[1:] == (first.name, "failpoint during-download")]
        run.check_that(bool(lates) == (limit == 1_000), "and has gone back to its snapshot if it took too long")


def judged_dead_after(seed: int, place: str, *, same_disk: bool) -> None:
    with scenario(seed, durability="snapshot") as run:
        first = at_work(run, place)
        run.kill_and_remove(first)
        run.start_process(first.disk if same_disk else None)
        run.until_processed()


def any_commit(_self: Any, opening: Any, local: Any) -> bool:
    return bool(local.commit) or not opening.mark.commit


def test_the_simulation_detects_use_of_a_disk_ahead_of_the_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SnapshotRestore, "_is_right", any_commit)
    with pytest.raises(Violation, match=r"opened: seen\[k\d\] is"):
        judged_dead_after(1, "failpoint after-manifest", same_disk=True)


def test_the_simulation_detects_a_restore_of_the_newest_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    def newest(self: Any, _number: int, _commit: str) -> Any:
        return self._catalogue.read(self._catalogue.numbers()[0])

    monkeypatch.setattr(TaskDownload, "_exactly", newest)
    monkeypatch.setattr(SnapshotRestore, "_is_right", any_commit)
    with pytest.raises(Violation, match=r"opened: seen\[k\d\] is"):
        judged_dead_after(1, "failpoint after-manifest", same_disk=False)


def test_the_simulation_detects_a_commit_that_does_not_wait_for_its_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommitSnapshots, "taken", lambda _self: {})
    with pytest.raises(Violation):
        judged_dead_after(1, "failpoint after-commit-before-settle", same_disk=False)
