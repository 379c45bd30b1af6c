"""Property tests of sink owners that crash, pause, resume and are replaced, with an in-memory target.

Whatever happens, the target has the records before its position, each once; and Kafka's offset is never beyond what the
target has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import tidemill as tm
from tests.support.examples import examples
from tidemill.engine.targets.batch_writer import BatchWriter, count_written
from tidemill.engine.targets.staged_writer import StagedWriter
from tidemill.engine.targets.staging import Roll, StagingSession, StagingTarget
from tidemill.operators.targets import target_sink
from tidemill.operators.targets.target_sink import TargetSink

TASK = tm.TargetTask("app", "sink", "topic", "id", 0)
RECORDS = [tm.Record("k", number, number, (), number + number // 5) for number in range(60)]  # markers take offsets too
END = RECORDS[-1].offset + 1


def is_bad(record: tm.Record[Any, Any]) -> bool:
    return record.value % 9 == 4


@dataclass
class Database(tm.Target):
    """The durable data: rows, position, epoch. `next` is the outcome of the next write."""

    rows: list[int] = field(default_factory=list)
    position: int | None = None
    epoch: str = ""
    next: str = "succeeds"

    def open(self, task: tm.TargetTask, epoch: str) -> tm.TargetSession:
        if self.next == "open fails":
            raise tm.TargetUnavailable("down")
        self.epoch = epoch
        if self.next == "open answers not":
            raise tm.TargetUnavailable("the answer is lost")
        return Session(self, epoch)


class Session(tm.TargetSession):
    def __init__(self, database: Database, epoch: str) -> None:
        self.database, self.epoch = database, epoch

    def position(self) -> int | None:
        if self.database.epoch != self.epoch:
            raise tm.TargetFenced("another owner")
        return self.database.position

    def write(self, records: Sequence[tm.Record[Any, Any]], position: int) -> None:
        base = self.database
        if base.next == "fails":
            raise tm.TargetUnavailable("down")
        self.position()
        if bad := {index: ValueError("bad") for index, record in enumerate(records) if is_bad(record)}:
            raise tm.RecordsRefused(bad)
        base.rows += [record.value for record in records]
        base.position = position
        if base.next == "answers not":
            raise tm.TargetUnavailable("the answer is lost")


class StagingDatabase(Database, StagingTarget):
    """The same for sessions that stage records."""

    roll = Roll(age=1_000_000, size=9)

    def open(self, task: tm.TargetTask, epoch: str) -> StagingSession:
        super().open(task, epoch)
        return StagedSession(self, epoch)


class StagedSession(StagingSession):
    def __init__(self, database: Database, epoch: str) -> None:
        self._plain = Session(database, epoch)
        self._staged: list[tm.Record[Any, Any]] = []

    def position(self) -> int | None:
        return self._plain.position()

    def stage(self, records: Sequence[tm.Record[Any, Any]]) -> int:
        if bad := {index: ValueError("bad") for index, record in enumerate(records) if is_bad(record)}:
            raise tm.RecordsRefused(bad)
        self._staged += records
        return len(self._staged)

    def commit(self, position: int) -> None:
        self._plain.write(self._staged, position)
        self.drop()

    def drop(self) -> None:
        self._staged = []


class Writer:
    """Performs a write when the test triggers it."""

    staged = None
    failed = False

    def __init__(self, database: Database, epoch: str) -> None:
        self._batches = BatchWriter(database, TASK, epoch)
        self._work: tuple[Sequence[tm.Record[Any, Any]], int] | None = None
        self._outcome: Mapping[int, Exception] | None = None
        self.fenced = False

    def write(self, records: Sequence[tm.Record[Any, Any]], position: int) -> None:
        assert self._work is None
        self._work = list(records), position

    def attempt(self) -> None:
        if self._work is None or self.fenced:
            return
        try:
            self._outcome = self._batches.write(*self._work)
        except tm.TargetUnavailable:
            return
        except tm.TargetFenced:
            self.fenced = True
            return
        self._work = None

    def roll(self) -> None: ...

    def outcome(self) -> Mapping[int, Exception] | None:
        found, self._outcome = self._outcome, None
        return found

    def close(self) -> None: ...


class StagingWriter(Writer):
    """The same, and writes staged records when the test triggers it, or when there are many."""

    def __init__(self, database: Database, epoch: str) -> None:
        assert isinstance(database, StagingDatabase)
        super().__init__(database, epoch)
        self._staged = StagedWriter(database, TASK, epoch)

    @property
    def staged(self) -> int | None:
        return self._staged.staged

    def attempt(self) -> None:
        def write() -> None:
            assert self._work is not None
            self._outcome = self._staged.write(*self._work, now=0)
            self._work = None

        if self._work is not None:
            self._unless_fenced(write)
        if self._staged.wait(0) == 0:
            self.roll()

    def roll(self) -> None:
        if self._staged.staged is not None:
            self._unless_fenced(self._staged.roll)

    def _unless_fenced(self, action: Callable[[], object]) -> None:
        if self.fenced:
            return
        try:
            action()
        except tm.TargetUnavailable:
            return
        except tm.TargetFenced:
            self.fenced = True


class Owner:
    """A process that has the task."""

    def __init__(self, number: int, database: Database, committed: int) -> None:
        self.number = number
        kind = StagingWriter if isinstance(database, StagingDatabase) else Writer
        self.writer: Writer = kind(database, f"epoch {number}")
        self.sink = TargetSink("sink")
        self.sink.writes_to(self.writer)
        self.position = committed
        self.refused: list[tm.Record[Any, Any]] = []

    def read(self, count: int) -> None:
        count = min(count, self.sink.room)
        taken = [record for record in RECORDS if record.offset >= self.position][: max(count, 0)]
        if taken:
            self.position = taken[-1].offset + 1
            self.sink.process(taken, 0)

    def collect(self) -> None:
        while self.sink.waiting:
            try:
                self.sink.collect(0, None)
            except tm.RecordError as error:
                self.refused.append(error.record)
                continue
            return

    def may_commit(self) -> int:
        held = self.sink.unwritten
        return self.position if held is None else min(self.position, held)


class Owners(RuleBasedStateMachine):
    """Kafka lets only the newest owner commit; the others are zombies."""

    kind: type[Database] = Database

    @initialize(most=st.integers(1, 8))
    def begin(self, most: int) -> None:
        self._most, target_sink.MOST_WRITTEN = target_sink.MOST_WRITTEN, most
        self.database = self.kind()
        self.committed = 0
        self.owners: list[Owner] = []
        self.made = 0
        self.replace()

    @rule()
    def replace(self) -> None:
        self.owners.append(Owner(self.made, self.database, self.committed))
        self.made += 1

    @precondition(lambda self: len(self.owners) > 1)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        self.owners.remove(data.draw(st.sampled_from(self.owners[:-1])))

    @rule()
    def crash_and_replace(self) -> None:
        self.owners.pop()
        self.replace()

    @rule(data=st.data(), count=st.integers(1, 12))
    def read(self, data: st.DataObject, count: int) -> None:
        data.draw(st.sampled_from(self.owners)).read(count)

    @rule(
        data=st.data(),
        how=st.sampled_from(["succeeds", "succeeds", "fails", "answers not", "open fails", "open answers not"]),
    )
    def attempt(self, data: st.DataObject, how: str) -> None:
        self.database.next = how
        data.draw(st.sampled_from(self.owners)).writer.attempt()

    @rule(data=st.data(), how=st.sampled_from(["succeeds", "succeeds", "fails", "answers not"]))
    def roll(self, data: st.DataObject, how: str) -> None:
        self.database.next = how
        data.draw(st.sampled_from(self.owners)).writer.roll()

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.owners)).collect()

    @rule()
    def commit(self) -> None:
        offset = self.owners[-1].may_commit()
        assert all(map(is_bad, self.owners[-1].refused))
        assert offset >= self.committed
        self.committed = offset

    @invariant()
    def each_record_once(self) -> None:
        position = self.database.position or 0
        assert self.database.rows == [r.value for r in RECORDS if r.offset < position and not is_bad(r)]
        between = [r for r in RECORDS if position <= r.offset < self.committed and self.is_waited_for(r)]
        assert between == [], "Kafka's offset is beyond what the target has"

    def is_waited_for(self, record: tm.Record[Any, Any]) -> bool:
        """Return whether Kafka's offset passes a record only after the target's position has."""
        return True

    def teardown(self) -> None:
        if not hasattr(self, "owners"):
            return
        try:
            self.database.next = "succeeds"
            self.crash_and_replace()
            last = self.owners[-1]
            for _ in range(500):
                last.read(12)
                last.writer.attempt()
                last.writer.roll()
                last.collect()
                if last.writer.fenced:  # a zombie opened it meanwhile: the process joins the group again
                    self.crash_and_replace()
                    last = self.owners[-1]
            assert last.may_commit() == END
            assert self.database.rows == [r.value for r in RECORDS if not is_bad(r)]
        finally:
            target_sink.MOST_WRITTEN = self._most


TestOwners = Owners.TestCase
TestOwners.settings = examples(200, stateful_step_count=60)


class StagingOwners(Owners):
    """The same with a target that stages records. Refused records alone make no commit there."""

    kind = StagingDatabase

    def is_waited_for(self, record: tm.Record[Any, Any]) -> bool:
        return not is_bad(record)


TestStagingOwners = StagingOwners.TestCase
TestStagingOwners.settings = examples(200, stateful_step_count=60)


def test_offsets_determine_what_a_target_has() -> None:
    assert [count_written(RECORDS[:10], at) for at in (None, 0, 1, 5, 6, 11, 99)] == [0, 0, 1, 5, 5, 10, 10]


def test_a_refused_record_behind_all_that_is_staged_makes_no_commit_and_is_not_read_again() -> None:
    database = StagingDatabase()
    owner = Owner(0, database, 0)
    owner.read(4)
    owner.writer.attempt()
    owner.writer.roll()
    owner.collect()
    owner.read(1)  # it is bad
    for _ in range(2):
        owner.writer.attempt()
        owner.collect()
    assert [record.value for record in owner.refused] == [4]
    assert (database.rows, database.position, owner.may_commit()) == ([0, 1, 2, 3], 4, 5)
    owner = Owner(1, database, owner.may_commit())
    owner.read(9)
    owner.writer.attempt()
    owner.collect()
    owner.writer.attempt()
    owner.writer.roll()
    assert (database.rows, database.position) == ([0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12], 16)


def test_the_offset_never_goes_back_if_the_target_has_the_beginning_of_a_batch() -> None:
    database = StagingDatabase()
    owner = Owner(0, database, 0)
    owner.read(1)
    owner.writer.attempt()
    owner.writer.roll()
    owner = Owner(1, database, 0)
    owner.read(2)
    offsets = [owner.may_commit()]
    for step in (owner.writer.attempt, owner.writer.roll, owner.collect):
        step()
        offsets.append(owner.may_commit())
    assert offsets == [0, 0, 0, 2]
