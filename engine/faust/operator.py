"""The step that runs the agents of a Faust application: all agents and tables, in each task.

It gives the records of the task to the agents. Before each commit it takes what they have done with them: changes of
tables into the stores, records to the sink. Events that agents have not begun by then are kept in a store of the step,
as the records that wait in `.map_async()` are, so that a commit does not have to wait for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from struct import Struct
from typing import Any, Final

import msgspec

from ...operators.graph.operator import Operator
from ...operators.record import Outgoing, Record, Row
from ...state.cache import Codec, StateCache
from ..errors import Fatal
from .host import FaustHost
from .tasks.harvest import Delivery, Harvest, StoredEvent
from .tasks.imports import TableImports
from .tasks.work import TaskWork

__all__ = ["AgentsOperator", "SentWriter", "events_codec", "rows_codec"]

NUMBER: Final = Struct(">Q")
MOST: Final = 2048
"""How many events a task gives to agents ahead."""
DRAIN_SECONDS: Final = 0.05
"""How long a commit waits for the events that agents have ahead."""
DELIVER_SECONDS: Final = 0.05
EVENT_SECONDS: Final = 240.0
"""How long an agent may take for an event."""

Caches = Mapping[str, StateCache[Any, Any]]


class AgentsOperator(Operator):
    """The agents, for the events of one task."""

    def __init__(
        self, host: FaustHost, topics: Sequence[str], events: StateCache[int, StoredEvent], tables: Caches
    ) -> None:
        self._host = host
        self._topics = topics
        self._events = events
        self._tables = tables
        self._partition = -1
        self._work: TaskWork | None = None
        self._imports: TableImports | None = None
        """What the task takes over from Faust's changelogs; agents get no event before that."""

    def placed(self, partition: int) -> None:
        self._partition = partition
        self._imports = self._host.imports(partition, self._tables)
        self._import()

    @property
    def waiting(self) -> int:
        """The number of events that agents have, and whether there is something else to commit."""
        return 1 if self._work is None else self._work.active + self._work.news

    @property
    def room(self) -> int:
        """The number of records that `process` should receive now."""
        return 0 if self._work is None else MOST - self._work.active

    def process(self, records: list[tuple[int, Record[Any, Any]]], now: int) -> list[Record[Any, Any]]:
        self._host.check()
        work = self._working
        slot = records[0][0]
        given = [record for _, record in records]
        work.fresh = False
        work.low = MOST // 2
        self._host.deliver(
            work,
            Delivery(
                self._topics[slot],
                work.partition,
                [record.offset for record in given],
                [record.timestamp for record in given],
                [record.key for record in given],
                [record.value for record in given],
                [record.headers for record in given],
            ),
        )
        work.drained.wait(DELIVER_SECONDS)
        return []

    def tick(self, now: int) -> list[Record[Any, Any]]:
        """Fail if the application has ended."""
        self._host.check()
        return []

    def collect(self, now: int, limit: int | None) -> list[Record[Any, Any]]:
        """Ask for a commit if there is something to commit beside records of inputs."""
        if self._imports is not None:
            self._import()
        elif self._working.news:
            self._events.put(MARK, None)
        return []

    def before_commit(self, now: int) -> list[Record[Any, Any]]:
        """Take what the agents have done; return the records that they have sent."""
        if self._imports is not None:
            return []
        work = self._working
        if not work.fresh:
            self._drain()
            if not self._host.harvest(EVENT_SECONDS):
                raise Fatal(
                    f"an agent of the Faust application takes longer than {EVENT_SECONDS:.0f} s for an event, and a "
                    "commit waits for it: make it faster, or hand the slow part to a task"
                )
        work.fresh = False
        harvests, work.harvests = work.harvests, []
        sent: list[Record[Any, Any]] = []
        for harvest in harvests:
            sent += self._apply(harvest)
        return sent

    def close(self) -> None:
        """Drop what was not committed."""
        if self._imports is not None:
            self._imports.close()
        if self._work is not None:
            self._host.close(self._work)

    def _import(self) -> None:
        """Take over records of Faust's changelogs; let agents begin when all of them are committed."""
        imports = self._imports
        assert imports is not None
        if not imports.committed:
            imports.step()
            return
        if not self._host.ready:
            return
        imports.close()
        self._imports = None
        kept = dict(self._events.scan(b"", None))
        self._work = self._host.open(self._partition, self._tables, max(kept, default=-1) + 1, kept)

    def _drain(self) -> None:
        work = self._working
        work.low = 0
        if work.active:
            work.drained.clear()
            if work.active:
                work.drained.wait(DRAIN_SECONDS)

    def _apply(self, harvest: Harvest) -> list[Record[Any, Any]]:
        for name, changes in harvest.changes.items():
            put = self._tables[name].put
            for key, value in changes.items():
                put(key, value)
        events = self._events
        for number, event in harvest.waiting.items():
            events.put(number, event)
        for number in harvest.finished:
            events.delete(number)
        return [Record(None, one, one.row[2]) for one in harvest.sent]

    @property
    def _working(self) -> TaskWork:
        assert self._work is not None, "the step has no partition yet"
        return self._work


MARK: Final = (1 << 64) - 1
"""The number under which nothing is kept: writing it asks for a commit."""


class SentWriter(Operator):
    """Writes what agents have sent, in order, to the topics they sent it to."""

    def process(self, records: list[Record[Any, Any]], now: int) -> list[Outgoing]:
        groups: dict[str, list[Record[Any, Any]]] = {}
        for record in records:
            groups.setdefault(record.value.topic, []).append(record)
        return [Outgoing(topic, rows_of(group), group) for topic, group in groups.items()]


def rows_of(records: list[Record[Any, Any]]) -> list[Row]:
    """Return the rows of sent records."""
    return [record.value.row for record in records]


def events_codec() -> Codec[int, StoredEvent]:
    """Return the codec of waiting events by number."""
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(StoredEvent)
    return Codec(NUMBER.pack, lambda data: NUMBER.unpack(data)[0], encoder.encode, decoder.decode, exact=True)


def rows_codec() -> Codec[bytes, bytes]:
    """Return the codec of a table's rows, which are bytes already."""
    same: Callable[[bytes], bytes] = bytes
    return Codec(same, same, same, same, exact=True)
