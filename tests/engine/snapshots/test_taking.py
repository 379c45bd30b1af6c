"""Tests of taking snapshots of a real store: which files are uploaded, and failures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bucket import Bucket
from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.snapshots.bandwidth import Bandwidth
from tidemill.engine.snapshots.choice import Changelog
from tidemill.engine.snapshots.downloads import TaskDownload, Wanted
from tidemill.engine.snapshots.manifest import decode, manifest_name
from tidemill.engine.snapshots.retention import GRACE_MS, ORPHAN_MS
from tidemill.engine.snapshots.savepoint import Savepoint, SavepointTask, encode, path_of
from tidemill.engine.snapshots.storage import Stopped, StorageError
from tidemill.engine.snapshots.taking import Overtaken, Subject, Taken, TaskSnapshots
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position

MEMORY = RocksMemory(8 << 20)
ROOT = "app/tasks/0_0/"
ROWS = 1_000
NOW = 1_700_000_000_000


class Owner:
    """A process that has the task."""

    def __init__(self, path: Path, bucket: Bucket, clock: ManualClock, generation: int = 1, keep: int = 1) -> None:
        self.path = path
        self.clock = clock
        self.store = RocksStore(path / "store", "app", "0_0", MEMORY)
        self.at = self.store.position().changelogs.get("n", 0)
        self.running = True
        self.subject = Subject("0_0", self.store, {"n": "count"}, "t", generation, lambda: self.running)
        bandwidth = Bandwidth(None, lambda: clock.monotonic() / 1000)
        self.snapshots = TaskSnapshots(bucket, "app", "0_0", keep, clock, bandwidth, path / "scratch")

    def commit(self) -> None:
        """Return an entry that is large enough for a separate file."""
        rows = [Change("n", b"%06d-%06d" % (self.at, key), b"\x01" + os.urandom(60)) for key in range(ROWS)]
        self.at += ROWS
        self.store.apply(rows, Position({"n": self.at}, {}, {"n": self.clock.now()}, {"n": "id"}))

    def take(self) -> Taken | None:
        taken = self.snapshots.take(self.subject)
        if taken is not None:
            self.snapshots.collect()
        return taken


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


@pytest.fixture
def owner(tmp_path: Path, bucket: Bucket, clock: ManualClock) -> Iterator[Owner]:
    made = Owner(tmp_path / "one", bucket, clock)
    yield made
    made.store.close()


def restored(bucket: Bucket, path: Path, clock: ManualClock, end: int = 10**6) -> Path | None:
    """What a task with an empty disk downloads."""
    work: list[object] = []
    wanted = Wanted(TaskId(0, 0), Position(), [Changelog("n", 0, end, "id", shape="count")], {}, clock.now())
    download = TaskDownload(bucket, "app", wanted, path, clock, work.append, lambda: None)
    download.plan()
    while work:
        work.pop(0)()  # type: ignore[operator]
    assert download.done
    return download.path


def rows_in(path: Path | None) -> int:
    assert path is not None
    store = RocksStore(path, "app", "0_0", MEMORY)
    assert store.position().changelogs["n"] == sum(1 for _ in store.scan("n", b"", None))
    store.close()
    return store.position().changelogs["n"]


def test_a_snapshot_comes_back(owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path):
    owner.commit()
    taken = owner.take()
    assert taken is not None
    assert taken.uploaded > 0
    assert bucket.manifests() == [ROOT + manifest_name(1)]
    assert rows_in(restored(bucket, tmp_path / "new", clock)) == ROWS
    assert not (tmp_path / "one" / "scratch").exists()


def test_only_new_files_are_uploaded(owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path):
    owner.commit()
    first = owner.take()
    before = bucket.put_count()
    owner.commit()
    second = owner.take()
    assert first is not None
    assert second is not None
    assert bucket.put_count() == before + 1
    assert second.uploaded < second.size
    assert rows_in(restored(bucket, tmp_path / "new", clock)) == 2 * ROWS


def test_nothing_is_taken_when_nothing_has_changed(owner: Owner, bucket: Bucket):
    owner.commit()
    assert owner.take() is not None
    calls = len(bucket.calls)
    assert owner.take() is None
    assert len(bucket.calls) == calls


def test_the_next_owner_reuses_the_files_of_the_last_one(
    owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path
):
    owner.commit()
    owner.take()
    path = restored(bucket, tmp_path / "two" / "store", clock)
    assert path is not None
    after = Owner(tmp_path / "two", bucket, clock, generation=2)
    before = bucket.put_count()
    after.commit()
    after.take()
    assert bucket.put_count() == before + 1
    after.store.close()


def test_a_former_owner_neither_replaces_nor_follows_a_later_one(
    owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path
):
    owner.commit()
    owner.take()
    later = Owner(tmp_path / "two", bucket, clock, generation=2)
    later.commit()
    later.commit()
    later.take()
    owner.commit()
    with pytest.raises(Overtaken, match="generation 2"):
        owner.take()
    assert decode(bucket.content[bucket.manifests()[-1]]).generation == 2
    later.store.close()


def test_of_two_that_write_at_the_same_moment_one_is_refused(
    owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path
):
    other = Owner(tmp_path / "two", bucket, clock)
    other.commit()
    owner.commit()

    def meanwhile(doing: str, path: str) -> None:
        if doing == "put_new":
            bucket.before = lambda doing, path: None
            other.take()

    bucket.before = meanwhile
    with pytest.raises(Overtaken, match="another process has written snapshot 1"):
        owner.take()
    assert len(bucket.manifests()) == 1
    owner.commit()
    assert owner.take() is not None  # with the next number
    other.store.close()


@pytest.mark.parametrize("doing", ["put", "put_new", "list"])
def test_a_failure_keeps_the_last_snapshot_and_the_next_attempt_continues(
    doing: str, owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path
):
    owner.commit()
    owner.take()
    owner.commit()
    bucket.fails = lambda called, path: called == doing
    with pytest.raises(StorageError):
        owner.take()
    assert rows_in(restored(bucket_of(bucket), tmp_path / "a", clock)) == ROWS
    bucket.fails = lambda called, path: False
    puts = bucket.put_count()
    assert owner.take() is not None
    assert bucket.put_count() - puts == (0 if doing == "put_new" else 1)  # what had arrived is not sent again
    assert rows_in(restored(bucket, tmp_path / "b", clock)) == 2 * ROWS


def bucket_of(other: Bucket) -> Bucket:
    """The same content, without the faults."""
    made = Bucket()
    made.content = dict(other.content)
    return made


def test_old_ones_are_deleted_an_hour_after_they_were_superseded(owner: Owner, bucket: Bucket, clock: ManualClock):
    for _ in range(3):
        owner.commit()
        owner.take()
    assert len(bucket.manifests()) == 3
    clock.advance(GRACE_MS)
    owner.commit()
    owner.take()
    named = decode(bucket.content[bucket.manifests()[-1]]).paths
    assert len(bucket.manifests()) == 2  # the newest, and the one that it has superseded just now
    assert {ROOT + name for name in named} <= set(bucket.files())


def test_what_a_crash_left_is_deleted_after_a_day(owner: Owner, bucket: Bucket, clock: ManualClock):
    bucket.content[f"{ROOT}files/{clock.now():013d}-0123456789ab/{'0' * 64}"] = b"half"
    owner.commit()
    owner.take()
    clock.advance(ORPHAN_MS + 1)
    owner.commit()
    owner.take()
    clock.advance(GRACE_MS)
    owner.commit()
    owner.take()
    assert not any("0123456789ab" in path for path in bucket.files())


def test_an_upload_ends_when_the_task_leaves(owner: Owner, bucket: Bucket):
    owner.commit()
    owner.running = False
    with pytest.raises(Stopped):
        owner.take()
    assert not bucket.content


def test_without_ids_of_topics_none_is_taken(owner: Owner, bucket: Bucket):
    owner.store.apply([Change("n", b"k", b"\x01v")], Position({"n": 1}))
    with pytest.raises(StorageError, match="no ids"):
        owner.take()


# Restoring


def spoil(bucket: Bucket, path: str, how: str) -> None:
    content = bucket.content[path]
    if how == "gone":
        del bucket.content[path]
    elif how == "truncated":
        bucket.content[path] = content[: len(content) // 2]
    else:
        bucket.content[path] = bytes([content[0] ^ 1]) + content[1:]


@pytest.mark.parametrize("how", ["gone", "truncated", "flipped"])
@pytest.mark.parametrize("what", ["file", "manifest"])
def test_a_damaged_snapshot_is_named_and_the_one_before_it_used(
    how: str, what: str, tmp_path: Path, bucket: Bucket, clock: ManualClock, caplog: pytest.LogCaptureFixture
):
    owner = Owner(tmp_path / "one", bucket, clock, keep=5)
    owner.commit()
    owner.take()
    first = set(bucket.files())
    owner.commit()
    owner.take()
    owner.store.close()
    path = bucket.manifests()[-1] if what == "manifest" else (set(bucket.files()) - first).pop()
    spoil(bucket, path, how)
    assert rows_in(restored(bucket, tmp_path / "new", clock)) == ROWS
    if (what, how) != ("manifest", "gone"):
        assert "snapshot 2 cannot be used" in caplog.text


def test_when_all_are_damaged_there_is_none(owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path):
    owner.commit()
    owner.take()
    for path in bucket.files():
        spoil(bucket, path, "flipped")
    assert restored(bucket, tmp_path / "new", clock) is None
    assert not (tmp_path / "new").exists()


def test_an_unavailable_storage_costs_only_one_request(
    owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    owner.commit()
    owner.take()
    bucket.fails = lambda doing, path: True
    assert restored(bucket, tmp_path / "new", clock) is None
    assert "restoring without one" in caplog.text


def test_one_that_delivers_nothing_for_a_minute_is_given_up(bucket: Bucket, clock: ManualClock, tmp_path: Path):
    wanted = Wanted(TaskId(0, 0), Position(), [], {}, clock.now())
    download = TaskDownload(bucket, "app", wanted, tmp_path / "new", clock, lambda action: None, lambda: None)
    assert not download.done
    clock.advance(60_001)
    assert download.done
    assert download.path is None


def test_what_a_savepoint_names_outlives_later_snapshots(
    owner: Owner, bucket: Bucket, clock: ManualClock, tmp_path: Path
):
    owner.commit()
    taken = owner.take()
    assert taken is not None
    one = Savepoint("s", "app", "", "", 0, "", [], [SavepointTask("0_0", taken.number)], [], [])
    bucket.put_new(path_of("app", "s"), encode(one))
    for _ in range(4):
        owner.commit()
        owner.take()
        clock.advance(GRACE_MS)
    named = decode(bucket.content[ROOT + manifest_name(1)])
    assert {ROOT + path for path in named.paths} <= bucket.content.keys()
    assert ROOT + manifest_name(2) not in bucket.content
    bucket.delete([path_of("app", "s")])
    owner.commit()
    owner.take()
    clock.advance(GRACE_MS)
    owner.commit()
    owner.take()
    assert ROOT + manifest_name(1) not in bucket.content
