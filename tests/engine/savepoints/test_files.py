"""Tests of files of records and messages in the snapshot storage, and of the hold of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.bucket import Bucket
from tests.support.examples import examples
from tidemill.engine.clock import ManualClock
from tidemill.engine.savepoints import record_files
from tidemill.engine.savepoints.hold import Hold, HoldableTask, Turn
from tidemill.engine.savepoints.mailbox import Mailbox
from tidemill.engine.savepoints.messages import Command, Report, parse_name
from tidemill.engine.savepoints.record_files import MemoryEntry, RecordFiles, TopicRecord, read_records
from tidemill.engine.snapshots.storage import StorageError
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Change, Position

BYTES = st.binary(max_size=40)
HEADERS = st.none() | st.lists(st.tuples(st.text(max_size=5), st.none() | BYTES), min_size=1, max_size=3)
RECORDS = st.lists(st.builds(TopicRecord, st.none() | BYTES, st.none() | BYTES, st.integers(0, 1 << 60), HEADERS))


@examples(50)
@given(RECORDS, st.integers(1, 200))
def test_records_come_back_whatever_the_size_of_files(records: list[TopicRecord], most: int) -> None:
    bucket, sent = Bucket(), list[int]()
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as scratch:
        patch.setattr(record_files, "MOST_BYTES", most)
        files = RecordFiles(bucket, "app", "files/a/r-0", Path(scratch), sent.append)
        for record in records:
            files.append(record)
        made = files.finish()
        found = list(read_records(bucket, "app", made, TopicRecord, Path(scratch)))
    assert found == records
    assert sum(file.records for file in made) == len(records)
    assert sum(sent) == sum(file.size for file in made)


def test_a_damaged_file_gives_no_record(tmp_path: Path) -> None:
    bucket = Bucket()
    files = RecordFiles(bucket, "app", "files/a/memory-0_0", tmp_path / "scratch", lambda size: None)
    files.append(MemoryEntry("n", b"key", b"\x01value"))
    made = files.finish()
    [path] = bucket.content
    assert path == "app/savepoints/files/a/memory-0_0-0"
    assert [*read_records(bucket, "app", made, MemoryEntry, tmp_path / "s")] == [MemoryEntry("n", b"key", b"\x01value")]
    bucket.content[path] = bucket.content[path][:-1] + b"?"
    with pytest.raises(StorageError, match="the checksum is wrong"):
        next(read_records(bucket, "app", made, MemoryEntry, tmp_path / "s"))


def test_the_newest_message_of_each_counts_and_earlier_ones_are_deleted() -> None:
    bucket = Bucket()
    command, one, two = Mailbox(bucket, "app"), Mailbox(bucket, "app"), Mailbox(bucket, "app")
    command.command("a1", Command("gather"))
    assert one.report("a1", Report("p-1.0", "ready", tasks=["0_0"])) == 0
    assert one.report("a1", Report("p-1.0", "ready", tasks=["0_1"])) == 1
    assert two.report("a1", Report("p-2.0", "failed", "why")) == 0
    command.command("a1", Command("hold", {"p-1.0": 1}, 5))
    found = command.look(reports="a1")["a1"]
    assert (found.number, found.command) == (1, Command("hold", {"p-1.0": 1}, 5))
    assert {name: (number, list(report.tasks)) for name, (number, report) in found.reports.items()} == {
        "p-1.0": (1, ["0_1"]),
        "p-2.0": (0, []),
    }
    assert one.look()["a1"].reports == {}
    assert len(bucket.content) == 3
    reads = sum(doing == "read" for doing, _ in bucket.calls)
    command.look(reports="a1")
    assert sum(doing == "read" for doing, _ in bucket.calls) == reads, "each message is read once"
    command.clear("a1")
    assert bucket.content == {}


def test_a_message_of_a_later_version_is_an_error_that_says_so() -> None:
    bucket = Bucket()
    bucket.content["app/mail/a1/command-000000000.json"] = b'{"phase": "dance"}'
    with pytest.raises(StorageError, match="is no message of this version of Tidemill"):
        Mailbox(bucket, "app").look()


@pytest.mark.parametrize("name", ["", "a", "a/b", "a/-1.json", "a/b-x.json", "a/b-1"])
def test_other_files_are_no_messages(name: str) -> None:
    assert parse_name(name) is None


class Loop:
    """The tasks of a process, and the turns of its loop."""

    def __init__(self, clock: ManualClock) -> None:
        self.hold = Hold(clock)
        memory = MemoryStore()
        memory.apply([Change("m", b"k", b"v")], Position())
        spec = SimpleNamespace(spec=SimpleNamespace(name="m", kind="memory"))
        part = SimpleNamespace(stores=[spec])
        self.tasks = [self.task("0_0", part, {"memory": memory}), self.task("0_1", part, {"memory": MemoryStore()})]
        self.commits = 0

    @staticmethod
    def task(name: str, part: Any, stores: Mapping[str, Any]) -> HoldableTask:
        made: Any = SimpleNamespace(id=name, subtopology=part, stores=stores, committed=lambda: {("t", 0): 5})
        return cast("HoldableTask", made)

    def turn(self) -> None:
        if self.hold.next(self.tasks) is Turn.REACH:
            self.commits += 1
            self.hold.reached(self.tasks)


def test_tasks_are_committed_once_and_held_until_the_release() -> None:
    loop = Loop(ManualClock(0))
    loop.turn()
    assert loop.hold.status() == ("none", "")
    loop.hold.ask(100)
    assert loop.hold.status() == ("waiting", "")
    loop.turn()
    loop.turn()
    assert (loop.commits, loop.hold.status()[0]) == (1, "held")
    one, two = loop.hold.content()
    assert (one.offsets, one.store, list(one.memory)) == ({("t", 0): 5}, None, [("m", b"k", b"v")])
    assert list(two.memory) == []
    loop.hold.release()
    loop.turn()
    assert (loop.commits, loop.hold.status()[0], loop.hold.content()) == (1, "none", ())


def test_a_hold_ends_after_its_time_whatever_the_thread_does() -> None:
    clock = ManualClock(0)
    loop = Loop(clock)
    loop.hold.ask(100)
    loop.turn()
    clock.advance(101)
    loop.turn()
    assert loop.hold.status() == ("broken", "its tasks were held for too long")


def test_a_hold_ends_with_a_change_of_tasks() -> None:
    loop = Loop(ManualClock(0))
    loop.hold.ask(100)
    loop.turn()
    loop.tasks[1] = loop.task("0_1", SimpleNamespace(stores=[]), {})  # the same task, opened again
    loop.turn()
    assert loop.hold.status() == ("broken", "its tasks have changed")
