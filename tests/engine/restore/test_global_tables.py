"""Tests of the loading of global tables, with scripted topics and client: start offsets, and reloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

import tidemill as tm
from tests.engine.restore.test_global_rows import batch, rows
from tidemill.engine.clock import ManualClock
from tidemill.engine.errors import Fatal, Retryable
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.kafka.errors import OffsetGone
from tidemill.engine.restore.global_tables import GlobalTables
from tidemill.engine.serve.stats import Stats
from tidemill.operators.record import Batch
from tidemill.state.memory import MemoryStore
from tidemill.state.store import TOMBSTONES_KEPT_MS
from tidemill.state.topic_partition import TopicPartition


class Topics:
    """One topic, "g"."""

    def __init__(self) -> None:
        self.identity: str | None = "one"
        self.begin: dict[int, int] = {0: 0, 1: 0}
        self.end: dict[int, int] = {0: 2, 1: 0}
        self.stable = 1_000
        """The last stable offset of all partitions."""
        self.kept = TOMBSTONES_KEPT_MS

    def identities(self, names: list[str]) -> dict[str, tuple[str, int]]:
        return {} if self.identity is None else {"g": (self.identity, len(self.end))}

    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {key: self.begin[key[1]] for key in keys}

    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]:
        return {key: min(self.end[key[1]], self.stable if committed else self.end[key[1]]) for key in keys}

    def deletions_kept(self, names: list[str]) -> dict[str, int]:
        return dict.fromkeys(names, self.kept)


class Reader:
    """Delivers the given records."""

    def __init__(self) -> None:
        self.offsets: dict[TopicPartition, int] = {}
        self.deliveries: list[Batch | Exception] = []

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.offsets.update(offsets)

    def unassign(self, keys: Iterable[TopicPartition]) -> None:
        for key in keys:
            del self.offsets[key]

    def poll(self, limit: int, timeout: float) -> Polled:
        if not self.deliveries:
            return Polled([], {})
        match self.deliveries.pop(0):
            case Exception() as error:
                raise error
            case found:
                return Polled([found], {})

    def end(self, key: TopicPartition) -> int:
        return -1

    def close(self) -> None:
        pass


class World:
    """A process with one global table, which tests can restart."""

    def __init__(self) -> None:
        self.topics = Topics()
        self.clock = ManualClock(0)
        self.store = MemoryStore()
        self.stats = Stats()
        self.begin()

    def begin(self, age: int = 0) -> None:
        self.clock.advance(age)
        self.reader = Reader()
        self.table = rows(self.store)
        parts: tuple[Any, Any] = (self.topics, self.reader)
        self.tables = GlobalTables([self.table], *parts, self.clock, 1_000, 5_000)

    def ready(self) -> bool:
        return self.tables.ready(self.stats)

    def read_all(self) -> None:
        self.reader.deliveries.append(batch(0, 0, ("k", 1), ("l", 2)))
        self.tables.step(0)
        assert self.ready()


def test_nothing_is_ready_before_all_is_read() -> None:
    world = World()
    world.tables.step(0)
    assert world.reader.offsets == {("g", 0): 0, ("g", 1): 0}
    assert not world.ready()
    world.reader.deliveries.append(batch(0, 0, ("k", 1)))
    world.tables.step(0)
    assert not world.ready()
    assert world.stats.table_lag == {"rates": 1}
    world.reader.deliveries.append(batch(0, 1, ("l", 2)))
    world.tables.step(0)
    assert world.ready()


def test_a_restart_continues_at_the_last_position() -> None:
    world = World()
    world.read_all()
    world.topics.end[0] = 7
    world.begin()
    world.tables.step(0)
    assert world.reader.offsets == {("g", 0): 2, ("g", 1): 0}
    assert world.table["k"] == (5, 1)


@pytest.mark.parametrize(
    ("begin", "end", "age"),
    [
        (0, 1, 0),  # the topic is shorter than the position
        (3, 9, 0),  # it starts after the position
        (0, 9, 25 * 3_600_000),  # tombstones may have expired
    ],
)
def test_a_store_that_may_differ_from_its_topic_is_emptied(begin: int, end: int, age: int) -> None:
    world = World()
    world.read_all()
    world.topics.begin[0], world.topics.end[0] = begin, end
    world.begin(age)
    world.tables.step(0)
    assert world.reader.offsets == {("g", 0): begin, ("g", 1): 0}
    assert world.table["k"] is None


def test_deletions_are_missed_sooner_where_the_topic_keeps_them_for_less() -> None:
    world = World()
    world.topics.kept = 100
    world.read_all()
    world.topics.end[0] = 9
    world.begin(28_000)
    world.tables.step(0)
    assert world.reader.offsets == {("g", 0): 0, ("g", 1): 0}
    assert world.table["k"] is None


def test_a_table_to_which_nothing_was_written_is_not_old() -> None:
    """The last offset of a topic is never compacted away: it is a record that is still there, or a marker."""
    world = World()
    world.read_all()
    world.topics.end[0] = 3
    world.begin(72 * 3_600_000)
    world.tables.step(0)
    assert world.reader.offsets == {("g", 0): 2, ("g", 1): 0}
    assert world.table["k"] == (5, 1)


@pytest.mark.parametrize("suspended", [1_000, 25 * 3_600_000])
def test_a_table_whose_process_was_paused_is_read_again(suspended: int) -> None:
    world = World()
    world.read_all()
    world.clock.advance(suspended)
    world.topics.end[0] = 9
    world.reader.deliveries.append(batch(0, 8, ("m", 3)))
    world.tables.step(0)
    assert world.ready() == (suspended == 1_000)
    assert world.table["k"] == ((5, 1) if world.ready() else None)


def test_a_table_that_is_read_all_the_time_is_never_old() -> None:
    world = World()
    world.read_all()
    for _ in range(50):
        world.clock.advance(3_600_000)
        world.tables.step(0)
        world.tables.step(0)
        assert world.ready()


def test_open_transactions_of_other_producers_are_not_awaited_but_reported(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.topics.end[0], world.topics.stable = 7, 2
    world.read_all()
    for _ in range(40):
        world.clock.advance(1_000)
        world.tables.step(0)
    [said] = [record.getMessage() for record in caplog.records]
    assert "topic 'g', partition 0: 5 records from offset 2 on wait for a transaction" in said
    world.topics.stable = 1_000
    for _ in range(40):
        world.clock.advance(1_000)
        world.tables.step(0)
    assert len(caplog.records) == 1


def test_what_came_with_a_failure_is_read_again() -> None:
    world = World()
    world.tables.step(0)
    world.reader.deliveries.append(batch(0, 0, ("k", 1)))
    world.tables.step(0)
    world.reader.offsets["g", 0] = 2  # "l" was delivered with what failed
    world.reader.deliveries.append(Retryable("no broker answers"))
    with pytest.raises(Retryable):
        world.tables.step(0)
    assert world.reader.offsets["g", 0] == 1


def test_new_partitions_are_read_from_their_beginning_while_the_table_is_in_use() -> None:
    world = World()
    world.read_all()
    world.topics.begin[2], world.topics.end[2] = 0, 4
    world.tables.step(0)
    assert ("g", 2) not in world.reader.offsets, "the topic is not looked at all the time"
    world.clock.advance(1_000)
    world.tables.step(0)
    assert world.reader.offsets["g", 2] == 0
    assert world.ready()


@pytest.mark.parametrize("what", ["another topic", "an offset that is gone", "a topic that was gone for a moment"])
def test_a_table_is_reloaded_during_the_run(what: str) -> None:
    world = World()
    world.read_all()
    world.topics.end[0] = 1
    match what:
        case "another topic":
            world.topics.identity = "two"
            world.clock.advance(1_000)
        case "an offset that is gone":
            world.reader.deliveries.append(OffsetGone("offset 2 is not in the topic any more", "users"))
            world.tables.step(0)
        case _:
            world.topics.identity = "two"
            world.reader.deliveries.append(Fatal("the topic does not exist any more"))
            world.tables.step(0)
    world.tables.step(0)
    assert not world.ready()
    assert world.table["k"] is None
    world.reader.deliveries.append(batch(0, 0, ("m", 3)))
    world.tables.step(0)
    assert world.ready()
    assert (world.table["k"], world.table["m"]) == (None, (5, 3))


def test_a_topic_that_does_not_come_back_ends_the_program() -> None:
    world = World()
    world.read_all()
    world.topics.identity = None
    world.reader.deliveries.append(Fatal("the topic does not exist any more"))
    for _ in range(2):
        with pytest.raises(Retryable, match="the topic 'g' of a global table does not exist"):
            world.tables.step(0)
    world.clock.advance(5_001)
    with pytest.raises(Fatal, match="'g' of a global table no longer exists: create it again"):
        world.tables.step(0)


def test_a_topic_without_read_permission_ends_the_program() -> None:
    world = World()
    world.read_all()
    world.reader.deliveries.append(Fatal("it may not be read"))
    with pytest.raises(Fatal, match="it may not be read"):
        world.tables.step(0)


def test_a_program_without_global_tables_is_ready() -> None:
    nothing: Any = None
    tables = GlobalTables((), nothing, nothing, ManualClock(0), 0, 0)
    tables.start()
    assert tables.ready(Stats())
    tables.close()


def test_an_error_in_the_thread_is_raised_in_the_main_thread() -> None:
    world = World()
    bad = batch(0, 0, ("k", 1), ("l", 2))
    bad.values[0] = b"{"
    world.reader.deliveries.append(bad)
    world.tables.run()
    with pytest.raises(tm.RecordError, match="'rates' could not decode"):
        world.ready()
