"""Tests of a program without a broker.

`TopologyDriver` runs the same plan, tasks, serdes and repartition hops as production, with stores in memory, a clock
that moves when told to, and topics that are lists. After each record everything it causes has happened, is committed
and can be read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from typing_extensions import Self

from .engine.calls.async_calls import AsyncCallExecutor
from .engine.clock import ManualClock
from .engine.config.sources import check_arguments
from .engine.dropped_records import DoubtLines
from .engine.errors import RecordRejected
from .engine.history.in_memory import after_histories, first_inputs, pieces_in_memory
from .engine.ids import TaskId
from .engine.plan.plan import partition, plan
from .engine.registry.startup import resolve
from .engine.restore.global_rows import GlobalRows
from .engine.runtime.bisection import of_row
from .engine.targets.memory import MemoryTargets
from .engine.tasks.store_reader import StoreReader
from .engine.tasks.task import Task
from .engine.topics.memory_topics import KAFKAS_LIMIT, MemoryTopics, attributed, decoded, encoded
from .operators.dsl.driven_program import DrivenProgram
from .operators.graph.output_checks import given_headers
from .operators.graph.topology import Repartition, Source
from .operators.policy import fail
from .operators.record import Headers, Outgoing, Record, Row
from .operators.suggest import did_you_mean
from .operators.time.durations import Duration, parse_duration
from .state.memory import MemoryStore
from .state.store import Position

__all__ = ["StoreReader", "TopologyDriver"]

LOG: Final = logging.getLogger("tidemill")
GLOBAL_MEMORY = 64 << 20  # bytes of decoded rows that are kept of a global table
CALL_SECONDS = 0.02  # how long a call is waited for before the next commit


class TopologyDriver:
    """Runs a program record by record, without a broker.

    It runs the plan, tasks, serdes and repartition hops of production, with stores in memory and a clock that is moved
    by hand. After each record everything that it causes has happened and is committed. A record that Kafka would not
    accept fails as it would there.

    Args:
        app: The program.
        partitions: The number of partitions of each of its topics, or a mapping by topic.
        now: The first time of the wall clock, in milliseconds since 1970.
        max_message_bytes: The size above which Kafka would refuse a record.

    Raises:
        TopologyError: The program cannot run.
        ConfigError: An argument of the application is not a setting.

    Example:
        >>> orders.filter(lambda order: order["pieces"] >= 10).to("large")
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     driver.send("orders", key="ann", value={"pieces": 12}, timestamp=1)
        ...     [record.value for record in driver.read("large")]
        [{'pieces': 12}]
    """

    def __init__(
        self,
        app: DrivenProgram,
        *,
        partitions: int | Mapping[str, int] = 1,
        now: int = 0,
        max_message_bytes: int = KAFKAS_LIMIT,
    ) -> None:
        check_arguments(getattr(app, "arguments", {}))
        topology = app.topology()
        resolve(topology)
        names = [topic for source in topology.sources for topic in source.topics]
        matches = {source.pattern: () for source in topology.sources if source.pattern is not None}
        counts = dict.fromkeys(names, partitions) if isinstance(partitions, int) else dict(partitions)
        self.plan = plan(partition(topology), app.app_id, counts, matches)
        self.clock = ManualClock(now)
        self._policy = getattr(app, "on_error", fail)
        self._readers: dict[str, Source | Repartition] = {
            topic: node for part in self.plan.subtopologies for topic, node in part.inputs
        }
        self._global = {node.topics[0]: self._global_rows(node) for node in topology.global_tables}
        self._readers.update((topic, rows.node) for topic, rows in self._global.items())
        widths = {topic: n for part in self.plan.subtopologies for topic, n in part.topic_partitions.items()}
        widths.update((topic, counts[topic]) for topic in self._global)
        self._topics = MemoryTopics(widths, partitions if isinstance(partitions, int) else None, max_message_bytes)
        self._calls, self._targets = AsyncCallExecutor(), MemoryTargets()
        self._doubts = DoubtLines()
        self._tasks: dict[TaskId, Task] = {task: self._task(task) for task in self.plan.tasks()}
        self._owner = {key: task for task in self._tasks.values() for key in task.inputs}
        for topic, rows in pieces_in_memory(self.plan):
            self._deliver(topic, rows)
        self._tick()
        for before in [task for task in self._tasks.values() if task.subtopology.histories]:
            after = self._tasks[before.id] = self._task(before.id, before)
            self._owner.update(dict.fromkeys(after.inputs, after))

    def _task(self, task: TaskId, before: Task | None = None) -> Task:
        """Return a task, or the one that goes on after its histories."""
        part, tables = self.plan.subtopology(task), {rows.name: rows for rows in self._global.values()}
        stores = {kind: MemoryStore() for kind in ("rocksdb", "memory")} if before is None else before.stores
        offsets, seen = (first_inputs(part, task.partition), None) if before is None else after_histories(before)
        time, calls, to = -1 if before is None else before.stream_time, self._calls, self._targets
        policy = self._policy
        made = Task(task, part, stores, offsets, policy, time, calls=calls, targets=to, seen=seen, global_tables=tables)
        for key in made.inputs:
            made.caught_up(key, True)
        return made

    def _global_rows(self, node: Source) -> GlobalRows:
        return GlobalRows(node, MemoryStore(), self._policy, GLOBAL_MEMORY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores; the end of a `with` block does it too.

        Example:
            >>> driver = tm.testing.TopologyDriver(app)
            >>> driver.close()
        """
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
        """Write one record to an input topic, and process everything that follows from it.

        Args:
            topic: The topic.
            key: The key, which the serde of the source encodes.
            value: The value, likewise.
            timestamp: The timestamp in Kafka, in milliseconds since 1970; without it, the time of the clock.
            headers: Pairs of a name and bytes.
            partition: The partition; without it, the key decides.

        Raises:
            KeyError: The program does not read this topic.
            RecordError: A step fails, and the policy is to stop.
            TypeError: The serde of the source cannot write the key or value.

        Example:
            >>> orders.to("copy")
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("orders", key="ann", value={"item": "pen"}, timestamp=1)
            ...     driver.read("copy")
            [Record(key='ann', value={'item': 'pen'}, timestamp=1, headers=(), offset=-1)]
        """
        self.send_all(
            topic, [Record(key, value, self.clock.now() if timestamp is None else timestamp, headers)], partition
        )

    def send_all(self, topic: str, records: Iterable[Record[Any, Any]], partition: int | None = None) -> None:
        """Write several records to an input topic, which are processed as one batch per partition.

        Args:
            topic: The topic.
            records: The records.
            partition: The partition; without it, each key decides.

        Raises:
            KeyError: The program does not read this topic.
            RecordError: A step fails, and the policy is to stop.
            TypeError: The serde of the source cannot write a key or value.

        Example:
            >>> orders.to("copy")
            >>> with tm.testing.TopologyDriver(app, partitions=2) as driver:
            ...     driver.send_all("orders", [tm.Record(str(n), {"pieces": n}, n) for n in range(3)])
            ...     len(driver.read("copy"))
            3
        """
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
            headers = attributed(node.key, record.key, key, given_headers(record.headers))
            headers = attributed(node.value, record.value, value, headers)
            rows.append((key, value, record.timestamp, headers or None, at))
        self._deliver(topic, rows)
        self._pump()
        self._commit()

    def advance_wall_clock(self, by: Duration) -> None:
        """Move the wall clock, and let timers act on it.

        Args:
            by: How far, such as "10s".

        Example:
            >>> with tm.testing.TopologyDriver(app, now=1_000) as driver:
            ...     driver.advance_wall_clock("10s")
            ...     driver.clock.now()
            11000
        """
        self.clock.advance(parse_duration(by))
        self._tick()

    def _tick(self) -> None:
        for task in self._tasks.values():
            self._route(task, task.tick(self.clock.now()))
        self._pump()
        self._commit()

    def read(self, topic: str) -> list[Record[Any, Any]]:
        """Return the records written to a topic since the last call, decoded.

        A sink that writes to a target, such as `tm.postgres(...)`, writes here instead, under its own name.

        Args:
            topic: The topic, also a repartition topic by its full name, or the name of such a sink.

        Raises:
            KeyError: The program does not write this topic.

        Example:
            >>> orders.map(lambda order: order["item"]).to("items", value=tm.utf8)
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("orders", key="ann", value={"item": "pen"}, timestamp=1)
            ...     [(record.key, record.value) for record in driver.read("items")]
            [('ann', 'pen')]
        """
        if topic in self._targets.records:
            return self._targets.take(topic)
        key, value = self._serdes(topic)
        return [
            Record(
                decoded(key, raw_key, headers),
                decoded(value, raw_value, headers),
                timestamp,
                tuple(headers) if headers else (),
            )
            for raw_key, raw_value, timestamp, headers, _ in self.read_bytes(topic)
        ]

    def read_bytes(self, topic: str) -> list[Row]:
        """Return the records written to a topic since the last call, as they are encoded.

        Args:
            topic: The topic.

        Returns:
            A tuple per record: key, value, timestamp, headers, partition.

        Example:
            >>> orders.to("copy")
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("orders", key="ann", value={"item": "pen"}, timestamp=1)
            ...     [row[:3] for row in driver.read_bytes("copy")]
            [(b'ann', b'{"item":"pen"}', 1)]
        """
        return self._topics.read(topic)

    def store(self, name: str) -> StoreReader:
        """Return the contents of a step's store.

        Args:
            name: The name of the store, which is that of its step.

        Raises:
            KeyError: There is no such store.

        Example:
            >>> counts = orders.group_by_key().count().named("counts")
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("orders", key="ann", value={"item": "pen"}, timestamp=1)
            ...     driver.store("counts").get("ann")
            1
        """
        for part in self.plan.subtopologies:
            for state in part.stores:
                if state.spec.name == name:
                    caches = [self._tasks[task].caches[name] for task in part.tasks()]
                    return StoreReader(caches, state.view)
        for rows in self._global.values():
            if rows.name == name:
                [state] = rows.node.stores
                return StoreReader([rows], state.view)
        known = [rows.name for rows in self._global.values()]
        known += [state.spec.name for part in self.plan.subtopologies for state in part.stores]
        raise KeyError(f"there is no store {name!r}{did_you_mean(name, known)}")

    @property
    def dropped(self) -> dict[tuple[str, str], int]:
        """How many records were dropped so far, by step and reason.

        Example:
            >>> counts = orders.group_by_key().count().named("counts")
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("orders", key=None, value={"item": "pen"}, timestamp=1)
            ...     driver.dropped
            {('counts', 'null key'): 1}
        """
        total: dict[tuple[str, str], int] = {}
        for part in (*self._tasks.values(), *self._global.values()):
            for place, count in part.drops().items():
                total[place] = total.get(place, 0) + count
        return total

    def _serdes(self, topic: str) -> tuple[Any, Any]:
        sinks = [node for node in self.plan.topology.sinks if node.topic is not None]
        for node in [*(n for n in sinks if n.topic == topic), *(n for n in sinks if callable(n.topic))]:
            return node.key, node.value
        if (reader := self._readers.get(topic)) is not None:
            return reader.key, reader.value
        known = [node.topic for node in sinks if isinstance(node.topic, str)]
        raise KeyError(f"the program does not write topic {topic!r}{did_you_mean(topic, known)}")

    def _deliver(self, topic: str, rows: list[Row]) -> None:
        """Append rows to a topic that the program reads."""
        for batch in self._topics.batches(topic, rows):
            if topic in self._global:
                self._global[topic].apply(batch)
                continue
            task = self._owner[key := (topic, batch.partition)]
            task.offer(batch, self.clock.now())
            task.caught_up(key, True)

    def _route(self, task: Task, outgoing: list[Outgoing]) -> None:
        for out in outgoing:
            rows = [row for place, row in enumerate(out.rows) if not self._refused(task, out, place)]
            self._topics.write(out.topic, rows)
            if out.topic in self._readers:
                self._deliver(out.topic, rows)

    def _refused(self, task: Task, out: Outgoing, place: int) -> bool:
        """Whether Kafka would not take a row. Raises RecordError when the policy is to stop."""
        if (why := self._topics.refusal(out.topic, out.rows[place])) is not None:
            task.refuse(of_row(RecordRejected(why, out.topic, (out, place))))
        return why is not None

    def _pump(self) -> None:
        """Process until nothing is left to do and no call is under way."""
        moving = True
        while moving:
            moving = False
            for task in self._tasks.values():
                if (outgoing := task.advance(self.clock.now())) is not None:
                    moving = True
                    self._route(task, outgoing)
            if not moving:
                for task in self._tasks.values():
                    marks = task.emit_marks(self.clock.now(), at_once=True)
                    moving |= bool(marks)
                    self._route(task, marks)
            calling = [task for task in self._tasks.values() if task.calling]
            if calling and not moving:
                self._commit_tasks()  # a journal waits for it
                self._calls.wait(CALL_SECONDS)
            moving |= bool(calling)
            for task in calling:
                self._route(task, task.collect(self.clock.now()))

    def _commit(self) -> None:
        while sum(self._send_waiting(task) for task in self._tasks.values()):
            pass
        self._commit_tasks()
        for part in (*self._tasks.values(), *self._global.values()):
            for line in self._doubts.lines(part.doubts()):
                LOG.warning("%s", line)

    def _commit_tasks(self) -> None:
        for task in self._tasks.values():
            task.prepare_commit()
            task.complete_commit(Position())

    def _send_waiting(self, task: Task) -> bool:
        if outgoing := task.before_commit(self.clock.now()):
            self._route(task, outgoing)
            self._pump()
        return bool(outgoing)
