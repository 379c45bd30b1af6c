"""When a store on disk may be gone on with, and that nothing on the way to that decision makes it forget what it is.

Against a group, topics and a changelog that are told what to say; stores are real ones on disk.
"""

from __future__ import annotations

import concurrent.futures
import logging
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

import tidemill as tm
from tidemill.engine.clock import ManualClock
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import Retryable, StateUnusable
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.kafka.errors import OffsetGone
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.restore import replay
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.restore.recovery import Recovery
from tidemill.engine.restore.stores import TaskStores
from tidemill.operators.record import Batch
from tidemill.state.store import TOMBSTONES_KEPT_MS, Change, Position, StateError, Store, frame

Key = tuple[str, int]
HOUR = 3_600_000


def planned(store: str = "n") -> Any:
    app = tm.App("app")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().count().named(store)
    return plan(partition(app.topology()), "app", {"in": 1}, {})


PLAN = planned()
TASK = PLAN.tasks()[0]


class Kafka:
    """The group, the topics and the changelog of one task, and a reader of it."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes, bytes | None]] = []
        self.begin = 0
        self.end = 0
        self.kept = TOMBSTONES_KEPT_MS
        self.fails = 0
        """How many questions for the end go unanswered."""
        self.at: dict[Key, int] = {}
        self.raises: list[Exception] = []

    def put(self, key: bytes, value: bytes | None) -> None:
        self.rows.append((self.end, key, None if value is None else frame(value)))
        self.end += 1

    def compact(self) -> None:
        """Keeps the last record of each key, deletions for no time at all, and the last offset."""
        newest = {key: offset for offset, key, _ in self.rows}
        self.rows = [
            row for row in self.rows if (newest[row[1]] == row[0] and row[2] is not None) or row[0] == self.end - 1
        ]

    # The group

    generation = 1

    def fence(self, tasks: Iterable[Any]) -> concurrent.futures.Future[Any]:
        done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        done.set_result({})
        return done

    def opened(self, fenced: Any) -> None:
        pass

    def fetch_offsets(self, partitions: Iterable[Key], timeout: float = 0) -> dict[Key, tuple[int, str]]:
        return dict.fromkeys(partitions, (10, ""))

    def sweep(self) -> list[str]:
        return []

    # The topics

    def begins(self, keys: Iterable[Key]) -> dict[Key, int]:
        return dict.fromkeys(keys, self.begin)

    def ends(self, keys: Iterable[Key], *, committed: bool) -> dict[Key, int]:
        self.fails -= 1
        if self.fails >= 0:
            raise Retryable("the leader did not answer")
        return dict.fromkeys(keys, self.end)

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, self.kept)

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(names, "an id")

    # The reader

    def assign(self, offsets: Mapping[Key, int]) -> None:
        self.at.update(offsets)

    def unassign(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.at.pop(key, None)

    def poll(self, limit: int, timeout: float) -> Polled:
        if self.raises:
            raise self.raises.pop(0)
        [key] = self.at or [("", 0)]
        at = self.at.get(key, self.end)
        if at >= self.end:
            return Polled([], {})
        rows = [row for row in self.rows if row[0] >= at]
        self.at[key] = self.end
        if not rows:
            return Polled([], {key: self.end})
        keys, values = [row[1] for row in rows], [row[2] for row in rows]
        batch = Batch(*key, keys, values, [0] * len(rows), [row[0] for row in rows], None, 0)  # type: ignore[arg-type]
        return Polled([batch], {key: self.end})

    def close(self) -> None:
        self.at.clear()


class Process:
    """One process with a directory, restarted at will."""

    def __init__(self, kafka: Kafka, path: Path) -> None:
        self.kafka = kafka
        self.clock = ManualClock(1_700_000_000_000)
        self.clock.sleep = lambda ms: None
        self.path = path
        self.begin()

    def begin(self, plan: Any = PLAN) -> None:
        self.plan = plan
        self.stores = TaskStores(Settings(app_id="app", state_dir=self.path))
        parts: tuple[Any, Any, Any] = (self.kafka, self.kafka, Reader(self.kafka))
        self.recovery = Recovery(plan, *parts, self.stores, self.clock, False)

    def end(self) -> None:
        self.recovery._closing = True
        self.recovery.run(lambda _seconds: None)
        self.stores.__exit__(None, None, None)

    def opened(self, steps: int = 6) -> Ready:
        self.recovery.open([TASK])
        self.recovery.standby([])
        for _ in range(steps):
            self.recovery._step()
        [ready] = self.recovery.finished()
        assert isinstance(ready, Ready)
        return ready

    def follow(self, steps: int = 4) -> None:
        self.recovery.standby([TASK])
        for _ in range(steps):
            self.recovery._step()


class Reader:
    """What is read of it."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self.assign, self.unassign, self.poll, self.close = kafka.assign, kafka.unassign, kafka.poll, kafka.close

    def end(self, key: Key) -> int:
        return self._kafka.end


@pytest.fixture
def kafka() -> Kafka:
    kafka = Kafka()
    kafka.put(b"a", b"1")
    kafka.put(b"b", b"1")
    return kafka


@pytest.fixture
def process(kafka: Kafka, tmp_path: Path) -> Process:
    """Has opened the task, and stopped."""
    process = Process(kafka, tmp_path / "state")
    assert content(process.opened()) == {b"a", b"b"}
    process.end()
    return process


def content(ready: Ready, store: str = "n") -> set[bytes]:
    """The keys of the store, which is closed."""
    found = {key for key, _ in ready.stores["rocksdb"].scan(store, b"", None)}
    ready.close()
    return found


def deleted_meanwhile(process: Process, away: int) -> None:
    """While the process is away, "a" is deleted and "c" is put, and the changelog is compacted."""
    process.clock.advance(away)
    process.kafka.put(b"a", None)
    process.kafka.put(b"c", b"1")
    process.kafka.put(b"d", b"1")
    process.kafka.compact()


@pytest.mark.parametrize("fails", [0, 1, 3])
def test_a_deletion_that_is_gone_from_the_changelog_is_not_missed(process: Process, fails: int) -> None:
    """However often the way to the decision is begun again."""
    deleted_meanwhile(process, 25 * HOUR)
    process.begin()
    process.kafka.fails = fails
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_a_copy_of_a_directory_is_as_old_as_what_was_copied(process: Process) -> None:
    deleted_meanwhile(process, 25 * HOUR)
    shutil.copytree(process.path, process.path.with_name("copy"), copy_function=shutil.copyfile)
    process.path = process.path.with_name("copy")
    process.begin()
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_a_start_that_came_to_nothing_makes_a_store_no_younger(process: Process) -> None:
    deleted_meanwhile(process, 25 * HOUR)
    process.begin()
    process.kafka.fails = 100
    process.recovery.open([TASK])
    for _ in range(3):
        process.recovery._step()
    process.end()
    process.kafka.fails = 0
    process.begin()
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_deletions_are_kept_for_as_long_as_the_changelog_is_set_to(process: Process) -> None:
    process.kafka.kept = 100
    deleted_meanwhile(process, 1_000)
    process.begin()
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_a_store_that_nothing_was_written_to_is_not_old(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """All that follows is the marker of the last commit."""
    caplog.set_level(logging.INFO)
    process.kafka.end += 1
    process.clock.advance(72 * HOUR)
    process.begin()
    assert content(process.opened()) == {b"a", b"b"}
    assert "0 changelog records replayed" in caplog.text
    process.kafka.put(b"c", b"1")
    process.kafka.put(b"d", b"1")
    process.clock.advance(2 * HOUR)  # of which the start before has made it complete
    process.end()
    process.begin()
    caplog.clear()
    assert content(process.opened()) == {b"a", b"b", b"c", b"d"}
    assert "2 changelog records replayed" in caplog.text


def test_a_store_of_an_earlier_version_is_used_only_when_it_misses_nothing(process: Process) -> None:
    process.begin()
    store = process.stores.open(TASK, PLAN.part(TASK))["rocksdb"]
    store.clear("n")
    store.apply([Change("n", b"a", frame(b"1")), Change("n", b"x", frame(b"1"))], Position({"n": 2}))
    store.close()
    assert content(process.opened()) == {b"a", b"x"}
    process.end()
    process.begin()
    store = process.stores.open(TASK, PLAN.part(TASK))["rocksdb"]
    store.clear("n")
    store.apply([Change("n", b"a", frame(b"1")), Change("n", b"x", frame(b"1"))], Position({"n": 2}))
    store.close()
    deleted_meanwhile(process, 0)
    assert content(process.opened()) == {b"b", b"c", b"d"}


def test_stores_that_the_task_does_not_have_are_removed(process: Process) -> None:
    """Directories are named by numbers of sub-topologies, and a new step may shift these."""
    other = planned("other")
    process.begin(other)
    assert content(process.opened(), "other") == {b"a", b"b"}
    process.end()
    process.begin()
    store = process.stores.open(TASK, other.part(TASK))["rocksdb"]
    assert list(store.scan("n", b"", None)) == []
    assert "n" not in store.position().changelogs
    store.close()


@pytest.mark.parametrize("away", [25 * HOUR, 1_000])
def test_a_copy_whose_process_stood_still_is_decided_again(process: Process, away: int) -> None:
    process.begin()
    process.follow()
    deleted_meanwhile(process, away)
    for _ in range(4):
        process.recovery._step()
    found = content(process.opened())
    assert found == ({b"b", b"c", b"d"} if away > TOMBSTONES_KEPT_MS else {b"a", b"b", b"c", b"d"})


def test_a_copy_that_is_read_all_the_time_is_never_old(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    process.begin()
    process.follow()
    caplog.set_level(logging.INFO)
    for hour in range(72):
        process.clock.advance(HOUR)
        if hour % 10 == 0:
            process.kafka.put(b"h%d" % hour, b"1")
        process.recovery._step()
        process.recovery._step()
    assert "deciding again" not in caplog.text
    assert len(content(process.opened())) == 10


@pytest.mark.parametrize("standby", [True, False])
@pytest.mark.parametrize("failure", [OffsetGone("offset 2 is gone", "app-n-changelog"), Retryable("no broker answers")])
def test_a_changelog_that_has_lost_records_is_decided_again(
    process: Process, failure: Exception, standby: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The process goes on, and nothing is missing that other partitions had delivered."""
    process.begin()
    if standby:
        process.follow()
    process.kafka.put(b"c", b"1")
    process.kafka.put(b"d", b"1")
    process.kafka.raises.append(failure)
    if standby:
        for _ in range(4):
            process.recovery._step()
    assert content(process.opened(8)) == {b"a", b"b", b"c", b"d"}
    assert "deciding again where the restores begin" in caplog.text


def test_a_copy_of_a_changelog_that_is_shorter_now_begins_again(process: Process) -> None:
    process.begin()
    process.follow()
    process.kafka.rows.clear()
    process.kafka.end = 0
    process.kafka.put(b"z", b"1")
    process.clock.advance(replay.MEASURE_MS)
    for _ in range(4):
        process.recovery._step()
    assert content(process.opened()) == {b"z"}


def test_a_store_that_cannot_be_closed_is_told_of(process: Process, caplog: pytest.LogCaptureFixture) -> None:
    """When the disk is full, say: the main thread says so, and this thread has nobody to raise to."""
    process.begin()
    process.follow()
    opening = process.recovery._openings[TASK]
    store = opening.stores["rocksdb"]

    def close() -> None:
        raise StateError("it cannot be closed: the disk is full")

    def apply(changes: Iterable[Change], position: Position) -> None:
        raise StateError("it cannot be written: the disk is full")

    broken = cast("Store", type("Broken", (), {"close": staticmethod(close), "apply": staticmethod(apply)})())
    opening.stores = {"rocksdb": broken}
    for feed in opening.feeds:
        feed.into = broken
    process.kafka.put(b"c", b"1")
    process.recovery.run(lambda _seconds: None)
    with pytest.raises(StateUnusable, match="cannot be written: the disk is full"):
        process.recovery.finished()
    assert "cannot be closed: the disk is full; what is missing in it is read from the changelogs" in caplog.text
    store.close()


def test_what_nobody_expects_is_raised_in_the_loop(process: Process) -> None:
    process.begin()
    process.follow()
    process.kafka.raises.append(ZeroDivisionError("a bug"))
    process.recovery.run(lambda _seconds: None)
    with pytest.raises(ZeroDivisionError):
        process.recovery.finished()
    process.recovery.cancel([TASK])
    assert Closed(TASK) not in process.recovery.finished()
