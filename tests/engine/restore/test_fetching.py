"""Tests of restores from snapshots: used where they save time, without losing anything."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.opening_process import TASK, Kafka, Process, content
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.snapshots.downloads import Wanted, WantedNewest, WantedSnapshot
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, CorruptStore, Position, frame

RECORDS = 20_000
"""The number of changelog records from which a snapshot is used."""


class OneDownload:
    def __init__(self, made: Path) -> None:
        self.done = False
        self.path: Path | None = made
        self.bytes = (3, 10)
        self.lost = self.trouble = ""
        self.abandoned = False

    def abandon(self) -> None:
        self.abandoned = True


class Snapshot:
    """A source with one snapshot, delivered when the test triggers it."""

    def __init__(self, content: Path) -> None:
        self.content = content
        self.asked: list[Wanted] = []
        self.downloads: list[OneDownload] = []
        self.arrived: Callable[[], None] = lambda: None

    def fetch(self, wanted: Wanted | WantedSnapshot | WantedNewest, arrived: Callable[[], None]) -> OneDownload:
        assert isinstance(wanted, Wanted)
        made = self.content.with_name(f"download-{len(self.asked)}")
        shutil.copytree(self.content, made)
        self.asked.append(wanted)
        self.arrived = arrived
        self.downloads.append(OneDownload(made))
        return self.downloads[-1]

    def deliver(self) -> None:
        self.downloads[-1].done = True
        self.arrived()


@pytest.fixture
def kafka() -> Kafka:
    kafka = Kafka()
    for number in range(RECORDS):
        kafka.put(b"%d" % (number % 100), b"1")
    return kafka


@pytest.fixture
def snapshot(kafka: Kafka, tmp_path: Path) -> Snapshot:
    """Of all but the last five records, with a key that the changelog does not have any more."""
    store = RocksStore(tmp_path / "snapshot", "app", str(TASK), RocksMemory(8 << 20))
    rows = [Change("n", b"%d" % number, frame(b"1")) for number in range(100)]
    now = 1_700_000_000_000
    at = Position({"n": RECORDS - 5}, {}, {"n": now}, {"n": "an id"})
    store.apply([*rows, Change("n", b"of the snapshot", frame(b"1"))], at)
    store.close()
    return Snapshot(tmp_path / "snapshot")


@pytest.fixture
def process(kafka: Kafka, snapshot: Snapshot, tmp_path: Path) -> Process:
    """Has nothing on its disk."""
    process = Process(kafka, tmp_path / "state")
    process.end()
    process.source = snapshot
    process.begin()
    return process


def step(process: Process, times: int = 4) -> list[Ready | Closed]:
    for _ in range(times):
        process.recovery._step()
    return process.recovery.finished()


def test_a_new_machine_replays_the_rest_only(process: Process, snapshot: Snapshot) -> None:
    process.recovery.open({TASK: 1})
    assert step(process) == []
    [progress] = process.recovery.progress()
    assert progress.bytes_left == 7
    snapshot.deliver()
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert ready.restored == 5
    assert content(ready) == {b"%d" % number for number in range(100)} | {b"of the snapshot"}


def test_without_a_snapshot_the_changelog_is_read(process: Process, snapshot: Snapshot) -> None:
    process.recovery.open({TASK: 1})
    step(process)
    snapshot.downloads[0].path = None
    snapshot.deliver()
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert ready.restored == RECORDS
    assert len(snapshot.asked) == 1
    assert b"of the snapshot" not in content(ready)


def test_a_store_that_is_nearly_up_to_date_is_kept_without_a_request(
    process: Process, snapshot: Snapshot, kafka: Kafka
) -> None:
    snapshot.downloads.clear()
    process.recovery.open({TASK: 1})
    step(process)
    snapshot.deliver()
    [ready] = step(process)
    assert isinstance(ready, Ready)
    ready.close()
    process.end()
    kafka.put(b"new", b"1")
    process.begin()
    process.recovery.open({TASK: 2})
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert ready.restored == 1
    assert len(snapshot.asked) == 1
    ready.close()


def test_a_standby_that_is_promoted_continues_its_download(process: Process, snapshot: Snapshot) -> None:
    process.recovery.standby([TASK])
    step(process)
    process.recovery.open({TASK: 1})
    process.recovery.standby([])
    assert step(process) == []
    assert len(snapshot.asked) == 1
    snapshot.deliver()
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert ready.restored == 5
    ready.close()


def test_a_standby_starts_with_a_snapshot_too(process: Process, snapshot: Snapshot) -> None:
    process.recovery.standby([TASK])
    step(process)
    snapshot.deliver()
    step(process)
    assert process.recovery.lags() == {TASK: 0}
    process.recovery.open({TASK: 1})
    process.recovery.standby([])
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert b"of the snapshot" in content(ready)


def test_a_task_that_is_cancelled_leaves_no_download(process: Process, snapshot: Snapshot) -> None:
    process.recovery.open({TASK: 1})
    step(process)
    process.recovery.cancel({TASK: 1})
    [closed] = step(process)
    assert isinstance(closed, Closed)
    assert snapshot.downloads[0].abandoned
    process.recovery.open({TASK: 2})
    step(process)
    assert len(snapshot.asked) == 2


@pytest.mark.parametrize("fails", [1, 2, 3])
def test_brokers_that_do_not_answer_cost_no_second_download(
    process: Process, snapshot: Snapshot, kafka: Kafka, fails: int
) -> None:
    process.recovery.open({TASK: 1})
    step(process)
    kafka.fails = fails
    snapshot.deliver()
    [ready] = step(process, 8)
    assert isinstance(ready, Ready)
    assert ready.restored == 5
    assert len(snapshot.asked) == 1
    ready.close()


def test_a_snapshot_that_turns_out_to_be_damaged_is_not_taken_again(process: Process, snapshot: Snapshot) -> None:
    process.recovery.open({TASK: 1})
    step(process)
    snapshot.deliver()
    [ready] = step(process)
    assert isinstance(ready, Ready)
    ready.close()  # the task executor has detected damage, and wiped the store
    process.stores.wipe(TASK)
    process.recovery.open({TASK: 2})
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert ready.restored == RECORDS
    assert len(snapshot.asked) == 1
    assert b"of the snapshot" not in content(ready)


def test_a_snapshot_that_cannot_be_opened_is_replaced_by_the_changelog(
    process: Process, snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    process.recovery.open({TASK: 1})
    step(process)
    path = snapshot.downloads[0].path
    assert path is not None
    (path / "CURRENT").write_text("MANIFEST-999999\n")
    snapshot.deliver()
    [ready] = step(process)
    assert isinstance(ready, Ready)
    assert ready.restored == RECORDS
    assert "restoring it from its changelog" in caplog.text
    ready.close()


def test_damage_that_recovery_detects_does_not_end_it(
    process: Process, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.recovery.open({TASK: 1})
    step(process)
    snapshot.deliver()
    applied = RocksStore.apply
    broken = [True]

    def apply(self: RocksStore, changes: object, position: Position) -> None:
        if broken and position.changelogs.get("n") == RECORDS:
            broken.clear()
            raise CorruptStore("a block is damaged", str(TASK))
        applied(self, changes, position)  # type: ignore[arg-type]

    monkeypatch.setattr(RocksStore, "apply", apply)
    [ready] = step(process, 8)
    assert isinstance(ready, Ready)
    assert ready.restored == RECORDS
    assert len(snapshot.asked) == 1
    ready.close()
