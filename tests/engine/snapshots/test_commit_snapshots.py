"""Tests of the snapshots of a commit: all or none, retried while the storage fails, unused if abandoned."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bucket import Bucket
from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.snapshots.commit_snapshots import CommitSnapshots, TaskState
from tidemill.engine.snapshots.downloads import TaskDownload, WantedNewest, WantedSnapshot
from tidemill.engine.snapshots.retention import GRACE_MS
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position, StateError

MEMORY = RocksMemory(8 << 20)
ROWS = 1_000


class Owner:
    """A process with two tasks, whose threads run when the test triggers them."""

    def __init__(self, path: Path, bucket: Bucket) -> None:
        self.bucket = bucket
        self.path = path
        self.clock = ManualClock(1_700_000_000_000)
        self.stores = {task: RocksStore(path / task, "app", task, MEMORY) for task in ("0_0", "0_1")}
        self.numbers = dict.fromkeys(self.stores, 0)
        self.count = 0
        self.snapshots = CommitSnapshots(bucket, "app", 1, None, lambda: 1, self.scratch, self.clock)

    def scratch(self, name: str) -> Path:
        return self.path / f".scratch-{name}"

    def begin(self, *tasks: str) -> str:
        """Write a commit to the stores, and start to store its snapshots."""
        self.count += 1
        commit = f"p.1-{self.count}"
        for task in tasks or self.stores:
            rows = [Change("n", b"%06d-%04d" % (self.count, key), b"\x01" + os.urandom(60)) for key in range(ROWS)]
            self.stores[task].apply(rows, Position(commit=commit))
        self.snapshots.begin(
            TaskState(task, self.stores[task], {"n": "count"}, "t", self.numbers[task]) for task in tasks or self.stores
        )
        return commit

    def work(self) -> None:
        while not self.snapshots.idle:
            self.snapshots.step()

    def commit(self, *tasks: str) -> str:
        commit = self.begin(*tasks)
        self.work()
        taken = self.snapshots.taken()
        assert taken is not None
        self.numbers |= {task: one.number for task, one in taken.items()}
        self.snapshots.committed()
        self.work()
        return commit

    def restored(self, number: int, commit: str, files: Path | None = None) -> TaskDownload:
        wanted = WantedSnapshot(TaskId(0, 0), number, commit, files or self.path / "none")
        return self.downloaded(wanted)

    def downloaded(self, wanted: WantedSnapshot | WantedNewest) -> TaskDownload:
        work: list[object] = []
        into = self.path / f"download-{len(list(self.path.iterdir()))}"
        download = TaskDownload(self.bucket, "app", wanted, into, self.clock, work.append, lambda: None)
        download.plan()
        while work:
            work.pop(0)()  # type: ignore[operator]
        return download


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Owner]:
    made = Owner(tmp_path, Bucket())
    yield made
    for store in made.stores.values():
        store.close()


def rows_in(path: Path | None) -> int:
    assert path is not None
    store = RocksStore(path, "app", "0_0", MEMORY)
    try:
        return sum(1 for _ in store.scan("n", b"", None))
    finally:
        store.close()


def test_all_tasks_of_a_commit_are_stored_and_each_is_found_by_its_number_and_commit(owner: Owner) -> None:
    first, second = owner.commit(), owner.commit("0_0")
    assert owner.numbers == {"0_0": 2, "0_1": 1}
    assert rows_in(owner.restored(1, first).path) == ROWS
    assert rows_in(owner.restored(2, second).path) == 2 * ROWS
    assert owner.snapshots.figures.taken == 3


def test_a_commit_without_changes_is_stored_at_once(owner: Owner) -> None:
    owner.snapshots.begin([])
    assert owner.snapshots.taken() == {}


def test_it_waits_while_the_store_fails_and_uploads_no_file_twice(owner: Owner) -> None:
    fails = 3

    def failing(doing: str, path: str) -> bool:
        nonlocal fails
        fails -= doing == "put_new"
        return doing == "put_new" and fails >= 0

    owner.bucket.fails = failing
    owner.begin("0_0")
    owner.work()
    assert owner.snapshots.taken() is not None
    assert owner.snapshots.figures.failures == 3
    assert owner.bucket.put_count() == 1
    assert "500 internal error" in owner.snapshots.trouble


def test_a_snapshot_that_is_given_up_is_never_stored(owner: Owner) -> None:
    owner.commit()
    before = set(owner.bucket.content)
    owner.begin()
    owner.snapshots.abandon()
    owner.work()
    assert set(owner.bucket.content) == before


def test_a_store_that_cannot_be_copied_is_an_error_of_this_machine(owner: Owner) -> None:
    owner.begin()
    owner.stores["0_1"].close()
    owner.work()
    with pytest.raises(StateError, match="closed"):
        owner.snapshots.taken()


def test_what_committed_offsets_name_is_kept_however_many_commits_fail_after_it(owner: Owner) -> None:
    commit = owner.commit("0_0")
    for _ in range(4):  # stored, and then Kafka does not commit
        owner.begin("0_0")
        owner.work()
        assert owner.snapshots.taken() is not None
        owner.snapshots._tasks["0_0"].snapshots.collect(owner.numbers["0_0"])
        owner.clock.sleep(2 * GRACE_MS)
    assert rows_in(owner.restored(1, commit).path) == ROWS


def test_numbers_continue_in_a_storage_that_was_emptied(owner: Owner) -> None:
    owner.commit("0_0")
    owner.commit("0_0")
    owner.bucket.content.clear()
    owner.commit("0_0")
    assert owner.numbers["0_0"] == 3


def test_files_that_are_on_the_disk_are_not_downloaded(owner: Owner) -> None:
    first = owner.commit("0_0")
    owner.begin("0_0")
    owner.work()
    owner.bucket.calls.clear()
    assert rows_in(owner.restored(1, first, owner.path / "0_0").path) == ROWS
    assert [path for doing, path in owner.bucket.calls if doing == "read" and "/files/" in path] == []


def test_a_file_of_the_same_name_with_other_content_is_not_used(owner: Owner, tmp_path: Path) -> None:
    first = owner.commit("0_0")
    other = Owner(tmp_path / "other", owner.bucket)
    other.begin("0_0")
    other.stores["0_0"].flush()
    assert rows_in(owner.restored(1, first, tmp_path / "other" / "0_0").path) == ROWS
    for store in other.stores.values():
        store.close()


def test_a_snapshot_that_is_not_there_or_another_one_is_lost(owner: Owner) -> None:
    first = owner.commit("0_0")
    assert "is not there" in owner.restored(7, first).lost
    assert "another commit" in owner.restored(1, "p.1-9").lost
    for path in owner.bucket.files():
        owner.bucket.content[path] = owner.bucket.content[path][:-1] + b"?"
    assert "checksum is wrong" in owner.restored(1, first).lost


def test_a_store_that_does_not_answer_has_lost_nothing(owner: Owner) -> None:
    first = owner.commit("0_0")
    owner.bucket.fails = lambda doing, path: True
    download = owner.restored(1, first)
    assert (download.path, download.lost) == (None, "")


def test_a_standby_gets_the_newest_unless_it_has_it(owner: Owner) -> None:
    owner.commit("0_0")
    second = owner.commit("0_0")
    wanted = WantedNewest(TaskId(0, 0), "", owner.path / "none")
    assert rows_in(owner.downloaded(wanted).path) == 2 * ROWS
    assert owner.downloaded(WantedNewest(TaskId(0, 0), second, owner.path / "none")).path is None
    assert owner.downloaded(WantedNewest(TaskId(0, 5), "", owner.path / "none")).path is None
