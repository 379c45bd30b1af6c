"""Tests of a program without a broker.

`TopologyDriver` runs the same plan, tasks, serdes and repartition hops as production, with stores in memory, a clock
that moves when told to, and topics that are lists. After each record everything it causes has happened, is committed
and can be read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

from typing_extensions import Self

from .engine.clock import ManualClock
from .engine.config.sources import check_arguments
from .engine.dropped_records import DoubtLines
from .engine.errors import Refused
from .engine.ids import TaskId
from .engine.kafka.murmur2 import murmur2_partition
from .engine.plan.plan import partition, plan
from .engine.restore.global_rows import GlobalRows
from .engine.runtime.async_calls import EventLoopCalls
from .engine.runtime.bisection import of_row
from .engine.tasks.task import Task
from .engine.watermarks.records import is_mark
from .operators.graph.output_checks import given_headers
from .operators.graph.topology import Repartition, Source, StoreView, Topology
from .operators.policy import ErrorPolicy, fail
from .operators.record import Batch, Headers, Outgoing, Record, Row
from .operators.serdes.base import Serde
from .operators.serdes.hashable import hashable
from .operators.serdes.value_copies import fresh
from .operators.suggest import did_you_mean
from .operators.time.durations import Duration, parse_duration
from .state.key_equality import all_plain
from .state.memory import MemoryStore
from .state.store import Position

__all__ = ["StoreReader", "TopologyDriver"]

LOG: Final = logging.getLogger("tidemill")
Key = tuple[str, int]
GLOBAL_MEMORY = 64 << 20
"""Bytes of decoded rows that are kept of a global table."""

KAFKAS_LIMIT = 1_048_588
"""The largest record, in bytes, that Kafka takes unless it is told to take larger ones."""
CALL_SECONDS = 1.0
"""How long the answer to a call is waited for at a time."""


class Program(Protocol):
    """What can be driven: an `App`."""

    @property
    def app_id(self) -> str: ...
    @property
    def on_error(self) -> ErrorPolicy: ...
    def topology(self) -> Topology: ...


class Entries(Protocol):
    """A part of a store."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def scan(self, lo: bytes, hi: bytes | None) -> Iterator[tuple[Any, Any]]: ...


class StoreReader:
    """A store as its users see it, over all tasks that have a part of it."""

    def __init__(self, parts: Sequence[Entries], view: StoreView) -> None:
        self._parts = parts
        self._view = view

    def get(self, key: Any, *, as_of: int | None = None) -> Any:
        """The value under a key, None when there is none; in a store with a history also what it was at a time."""
        key, find = hashable(key), self._view.as_of
        if as_of is not None and find is None:
            raise TypeError("this store has no history, so it cannot tell what was as_of a time")
        for part in self._parts:
            if not all_plain((key,)):
                getattr(part, "by_bytes", lambda: None)()
            value = part[self._view.to_key(key)] if as_of is None or find is None else find(part, key, as_of)
            if value is not None and (shown := self._shown(value)) is not None:
                return shown
        return None

    def items(self) -> Iterator[tuple[Any, Any]]:
        """All entries, in the order of their encoded keys within a task."""
        for part in self._parts:
            for key, value in part.scan(b"", None):
                if self._view.visible(key) and (shown := self._shown(value)) is not None:
                    yield self._view.from_key(key), shown

    def _shown(self, value: Any) -> Any:
        """What users see of a value, as an object of their own."""
        return fresh(self._view.from_value(value))

    def __len__(self) -> int:
        return sum(1 for _ in self.items())


class TopologyDriver:
    """Runs a program record by record.

    `partitions` is the number of partitions of each of the program's topics, or a mapping by topic; `now` is where the
    wall clock stands at first, in ms, which is what `max_ahead=` of a source is counted from. A record that Kafka
    would not take, because it is larger than `max_message_bytes` or its partition does not exist, fails here as there.
    """

    def __init__(
        self,
        app: Program,
        *,
        partitions: int | Mapping[str, int] = 1,
        now: int = 0,
        max_message_bytes: int = KAFKAS_LIMIT,
    ) -> None:
        check_arguments(getattr(app, "arguments", {}))
        topology = app.topology()
        names = [topic for source in topology.sources for topic in source.topics]
        matches = {source.pattern: () for source in topology.sources if source.pattern is not None}
        counts = dict.fromkeys(names, partitions) if isinstance(partitions, int) else dict(partitions)
        self.plan = plan(partition(topology), app.app_id, counts, matches)
        self.clock = ManualClock(now)
        self._policy = getattr(app, "on_error", fail)
        self._readers: dict[str, Source | Repartition] = {
            topic: node for part in self.plan.parts for topic, node in part.inputs
        }
        self._counts = {topic: n for part in self.plan.parts for topic, n in part.topic_partitions.items()}
        self._global = {node.topics[0]: self._global_rows(node) for node in topology.global_tables}
        self._readers.update((topic, rows.node) for topic, rows in self._global.items())
        self._counts.update((topic, counts[topic]) for topic in self._global)
        self._others = partitions if isinstance(partitions, int) else None
        self._max_message_bytes = max_message_bytes
        self._calls = EventLoopCalls()
        self._doubts = DoubtLines()
        self._ends: dict[Key, int] = {}
        self._written: dict[str, list[Row]] = {}
        self._tasks: dict[TaskId, Task] = {task: self._task(task) for task in self.plan.tasks()}
        self._owner = {key: task for task in self._tasks.values() for key in task.inputs}
        for key, task in self._owner.items():
            task.caught_up(key, True)
        self._tick()

    def _task(self, task: TaskId) -> Task:
        part = self.plan.part(task)
        stores = {kind: MemoryStore() for kind in ("rocksdb", "memory")}
        offsets = dict.fromkeys(part.task_inputs(task.partition), 0)
        tables = {rows.name: rows for rows in self._global.values()}
        return Task(task, part, stores, offsets, self._policy, calls=self._calls, global_tables=tables)

    def _global_rows(self, node: Source) -> GlobalRows:
        return GlobalRows(node, MemoryStore(), self._policy, GLOBAL_MEMORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the stores."""
        for task in self._tasks.values():
            task.close()
        self._calls.close()

    def send(
        self,
        topic: str,
        key: Any = None,
        value: Any = None,
        timestamp: int | None = None,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Puts one record into an input topic and processes all that follows from it.

        Key and value are encoded by the serdes of the source. Without a timestamp the record has the clock's; without a
        partition its key decides. Raises RecordError when a step fails and the policy is to stop.
        """
        self.send_all(
            topic, [Record(key, value, self.clock.now() if timestamp is None else timestamp, headers)], partition
        )

    def send_all(self, topic: str, records: Iterable[Record[Any, Any]], partition: int | None = None) -> None:
        """Puts several records into an input topic, to be processed as batches, one a partition."""
        node = self._readers.get(topic)
        if node is None:
            raise KeyError(f"the program does not read topic {topic!r}{did_you_mean(topic, self._readers)}")
        rows: list[Row] = []
        for record in records:
            key = encoded(topic, "key", record.key, node.key)
            value = encoded(topic, "value", record.value, node.value)
            at = -1 if partition is None else partition
            if type(record.timestamp) is not int:
                raise TypeError(f"topic {topic!r}: the timestamp {record.timestamp!r} is not an int of milliseconds")
            headers = given_headers(record.headers)
            rows.append((key, value, record.timestamp, headers or None, at))
        self._deliver(topic, rows)
        self._pump()
        self._commit()

    def advance_wall_clock(self, by: Duration) -> None:
        """Moves the wall clock (`"10s"`, or ms) and lets timers act on it."""
        self.clock.advance(parse_duration(by))
        self._tick()

    def _tick(self) -> None:
        for task in self._tasks.values():
            self._route(task, task.tick(self.clock.now()))
        self._pump()
        self._commit()

    def read(self, topic: str) -> list[Record[Any, Any]]:
        """The records written to a topic since the last call, decoded as its readers would."""
        key, value = self._serdes(topic)
        return [
            Record(
                None if raw_key is None else key.decode(raw_key),
                None if raw_value is None else value.decode(raw_value),
                timestamp,
                tuple(headers) if headers else (),
            )
            for raw_key, raw_value, timestamp, headers, _ in self.read_bytes(topic)
        ]

    def read_bytes(self, topic: str) -> list[Row]:
        """The records written to a topic since the last call, as bytes."""
        return [row for row in self._written.pop(topic, []) if not is_mark(row[0], row[1], row[3])]

    def store(self, name: str) -> StoreReader:
        """The contents of a step's store."""
        for part in self.plan.parts:
            for state in part.stores:
                if state.spec.name == name:
                    caches = [self._tasks[task].caches[name] for task in part.tasks()]
                    return StoreReader(caches, state.view)
        for rows in self._global.values():
            if rows.name == name:
                [state] = rows.node.stores
                return StoreReader([rows], state.view)
        known = [rows.name for rows in self._global.values()]
        known += [state.spec.name for part in self.plan.parts for state in part.stores]
        raise KeyError(f"there is no store {name!r}{did_you_mean(name, known)}")

    @property
    def dropped(self) -> dict[tuple[str, str], int]:
        """How many records were dropped so far, by step and reason."""
        total: dict[tuple[str, str], int] = {}
        for part in (*self._tasks.values(), *self._global.values()):
            for place, count in part.drops().items():
                total[place] = total.get(place, 0) + count
        return total

    def _serdes(self, topic: str) -> tuple[Any, Any]:
        sinks = [node for node in self.plan.topology.sinks if node.topic is not None]
        for node in [*(n for n in sinks if n.topic == topic), *(n for n in sinks if callable(n.topic))]:
            return node.key, node.value
        reader = self._readers.get(topic)
        if reader is not None:
            return reader.key, reader.value
        known = [node.topic for node in sinks if isinstance(node.topic, str)]
        raise KeyError(f"the program does not write topic {topic!r}{did_you_mean(topic, known)}")

    def _deliver(self, topic: str, rows: list[Row]) -> None:
        """Appends rows to a topic that the program reads."""
        groups: dict[int, list[Row]] = {}
        for row in rows:
            groups.setdefault(self._partition(topic, row), []).append(row)
        for number, group in groups.items():
            key = (topic, number)
            begin = self._ends.get(key, 0)
            self._ends[key] = begin + len(group)
            headers: list[Headers] | None = None
            if any(row[3] for row in group):
                headers = [tuple(row[3]) if row[3] else () for row in group]
            batch = Batch(
                topic,
                number,
                [row[0] for row in group],
                [row[1] for row in group],
                [row[2] for row in group],
                list(range(begin, begin + len(group))),
                headers,
                sum(len(row[0] or b"") + len(row[1] or b"") for row in group),
            )
            if topic in self._global:
                self._global[topic].apply(batch)
                continue
            task = self._owner[key]
            task.offer(batch, self.clock.now())
            task.caught_up(key, True)

    def _partition(self, topic: str, row: Row) -> int:
        key, at, count = row[0], row[4], self._counts[topic]
        if isinstance(at, bytes):
            return murmur2_partition(at, count)
        if at >= 0:
            if at >= count:
                raise IndexError(f"topic {topic!r} has {count} partitions: there is no partition {at}")
            return at
        return 0 if key is None else murmur2_partition(key, count)

    def _route(self, task: Task, outgoing: list[Outgoing]) -> None:
        for out in outgoing:
            rows = [row for place, row in enumerate(out.rows) if not self._refused(task, out, place)]
            self._written.setdefault(out.topic, []).extend(rows)
            if out.topic in self._readers:
                self._deliver(out.topic, rows)

    def _refused(self, task: Task, out: Outgoing, place: int) -> bool:
        """Whether Kafka would not take a row. Raises RecordError when the policy is to stop."""
        why = self._why_not(out.topic, out.rows[place])
        if why is not None:
            task.refuse(of_row(Refused(why, out.topic, (out, place))))
        return why is not None

    def _why_not(self, topic: str, row: Row) -> str | None:
        size = len(row[0] or b"") + len(row[1] or b"")
        if size > self._max_message_bytes:
            return (
                f"a record of {size:,} bytes for topic {topic!r} is larger than the topic takes "
                f"(max.message.bytes, here {self._max_message_bytes:,})"
            )
        count = self._counts.get(topic, self._others)
        if count is not None and isinstance(row[4], int) and row[4] >= count:
            return f"topic {topic!r} has {count} partitions: there is no partition {row[4]}"
        return None

    def _pump(self) -> None:
        """Processes until nothing is left to do and no call is under way."""
        moving = True
        while moving:
            moving = False
            for task in self._tasks.values():
                outgoing = task.advance(self.clock.now())
                if outgoing is not None:
                    moving = True
                    self._route(task, outgoing)
            if not moving:
                for task in self._tasks.values():
                    told = task.tell(self.clock.now(), at_once=True)
                    moving |= bool(told)
                    self._route(task, told)
            calling = [task for task in self._tasks.values() if task.calling]
            if calling and not moving:
                self._calls.wait(CALL_SECONDS)
            for task in calling:
                moving = True
                self._route(task, task.collect(self.clock.now()))

    def _commit(self) -> None:
        for task in self._tasks.values():
            task.seal()
            task.settle(Position())
        for part in (*self._tasks.values(), *self._global.values()):
            for line in self._doubts.lines(part.doubts()):
                LOG.warning("%s", line)


def encoded(topic: str, what: str, item: Any, serde: Serde[Any] | None) -> bytes | None:
    """The bytes of a key or value; TypeError when its serde cannot write it."""
    if item is None or serde is None:
        return None
    try:
        return serde.encode(item)
    except Exception as error:
        raise TypeError(f"topic {topic!r}: the {what} {item!r} is not one for its serde, {serde!r}: {error}") from error
