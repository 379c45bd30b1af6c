"""The events of one task on their way through agents, and the gate before a commit.

All of it belongs to the thread of the event loop, but for what says otherwise. An event is counted as *begun* from the
moment at which a stream gives it to an agent until the agent comes back for the next one, which acknowledges it. What
agents do is theirs while events are begun; when none is, all effects are those of acknowledged events. So a harvest
shuts the gate, waits until no event is begun, takes all effects, and opens the gate again.

    WAITING ──stream──▶ BEGUN ──agent comes back──▶ DONE
       ▲                 │  ▲
       │   collected by  │  │ the collected events
       │   take(), or    ▼  │ are given to the agent
       │   no ack       PARKED ──ack──▶ DONE
       │                 │
       └── next start ───┴── harvested while not DONE and not BEGUN: kept in the task's store
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, Final

from . import library
from .harvest import Harvest, Sent, StoredEvent
from .rows import FaustRows

__all__ = ["BEGUN", "DONE", "PARKED", "WAITING", "EventMessage", "Gate", "TaskWork", "batch_message", "current_message"]

WAITING: Final = 0
BEGUN: Final = 1
PARKED: Final = 2
DONE: Final = 3


class Gate:
    """Whether streams may give events to agents, and how many events agents have."""

    def __init__(self) -> None:
        self.shut = False
        """Set by the engine's thread too."""
        self.begun = 0
        self._opened: asyncio.Event | None = None
        self._quiet: asyncio.Future[None] | None = None

    async def passed(self) -> None:
        """Wait until the gate is open."""
        while self.shut:
            if self._opened is None:
                self._opened = asyncio.Event()
            await self._opened.wait()

    def open(self) -> None:
        """Open the gate."""
        self.shut = False
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    async def quiet(self, seconds: float) -> bool:
        """Wait until no event is begun, at most for some seconds; return whether none is."""
        if self.begun:
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._quiet], timeout=seconds)
            self._quiet = None
        return self.begun == 0

    def ended(self) -> None:
        """Count an event as no longer begun."""
        self.begun -= 1
        if self._quiet is not None and self.begun == 0 and not self._quiet.done():
            self._quiet.set_result(None)


class TaskWork:
    """The work of the agents on one task, from its opening until it is closed or rolled back."""

    def __init__(self, partition: int, tables: Mapping[str, FaustRows], gate: Gate, first: int) -> None:
        """Create it; `first` is the number of the first event."""
        self.partition = partition
        self.tables = tables
        self.gate = gate
        self.closed = False
        self.sent: list[Sent] = []
        self.unfinished: dict[int, EventMessage] = {}
        """The events that are not acknowledged, by number."""
        self.active = 0
        """How many of them are waiting or begun; read by the engine's thread too."""
        self.due = 0
        """The number of deliveries that have not been given to streams yet."""
        self.stored: set[int] = set()
        """The numbers of those that are kept in the store."""
        self.finished: list[int] = []
        self.low = 0
        """When `active` has fallen to this, `drained` is set. Set by the engine's thread."""
        self.drained = threading.Event()
        self.harvests: list[Harvest] = []
        """Harvests that are in no commit yet; for the engine's thread, like `fresh`."""
        self.fresh = False
        """Whether nothing was delivered since the last harvest."""
        self.number = first
        """The number of the next event."""

    @property
    def news(self) -> bool:
        """Whether there is something to commit beside records of inputs, for the engine's thread."""
        return bool(self.finished or self.sent) or any(rows.dirty for rows in self.tables.values())

    def arrived(self) -> None:
        """Note that a delivery has been given to its streams."""
        self.due -= 1
        if self.due == 0 and self.active <= self.low:
            self.drained.set()

    def settled(self) -> None:
        """Count an event as not active any more."""
        self.active -= 1
        if self.active <= self.low and self.due == 0:
            self.drained.set()

    def harvest(self) -> Harvest:
        """Return what has been done since the last harvest; no event is begun."""
        changes = {name: rows.take_changes() for name, rows in self.tables.items() if rows.dirty}
        sent, self.sent = self.sent, []
        finished, self.finished = self.finished, []
        waiting: dict[int, StoredEvent] = {}
        for number, message in self.unfinished.items():
            if number not in self.stored:
                waiting[number] = message.stored()
        self.stored.update(waiting)
        return Harvest(changes, sent, waiting, finished)

    def close(self) -> None:
        """Drop what has not been harvested; events that are under way have no effect any more."""
        self.closed = True
        self.drained.set()


class EventMessage(library.Message):
    """The message of an event for one stream."""

    __slots__ = ("channel", "made", "number", "state", "work")

    def __init__(
        self,
        work: TaskWork,
        channel: int,
        tp: Any,
        offset: int,
        timestamp: int,
        key: Any,
        value: Any,
        headers: Any,
        *,
        made: bool = False,
    ) -> None:
        """Create it; `channel` is the number of the stream.

        One that is `made` is no record of an input: it is begun, and the commit of what caused it waits for it.
        """
        self.work = work
        self.channel = channel
        self.state = WAITING
        self.made = made
        self.topic: str = tp[0]
        self.partition: int = tp[1]
        self.tp = tp
        self.offset = offset
        self.timestamp = timestamp / 1000
        self.timestamp_type = 0
        self.headers = headers
        self.key = key
        self.value = value
        self.checksum = None
        self.serialized_key_size = len(key) if isinstance(key, bytes) else 0
        self.serialized_value_size = len(value) if isinstance(value, bytes) else 0
        self.acked = False
        self.refcount = 1
        self.tracked = True
        self.time_in = self.time_out = self.time_total = None
        self.generation_id = 0
        self.number = work.number
        work.number += 1
        if made:
            self.begin()
        else:
            work.unfinished[self.number] = self
            work.active += 1

    def begin(self) -> None:
        """Count it as given to an agent."""
        if self.state == WAITING:
            self.work.gate.begun += 1
        elif self.state == PARKED:
            self.work.gate.begun += 1
            if not self.made:
                self.work.active += 1
        else:
            return
        self.state = BEGUN

    def park(self) -> None:
        """Count it as collected: the agent has it, and has not acted on it."""
        if self.state == BEGUN:
            self.state = PARKED
            self.work.gate.ended()
            if not self.made:
                self.work.settled()

    def ack(self, consumer: Any, n: int = 1) -> bool:
        """Acknowledge it; return whether it was not acknowledged before."""
        state = self.state
        if state == DONE:
            return False
        self.state = DONE
        self.acked = True
        self.refcount = 0
        work = self.work
        if not self.made:
            if work.unfinished.pop(self.number, None) is not None and self.number in work.stored:
                work.stored.discard(self.number)
                work.finished.append(self.number)
            if state != PARKED:
                work.settled()
        if state == BEGUN:
            work.gate.ended()
        return True

    def incref(self, n: int = 1) -> None:
        """Do nothing: each stream has a message of its own."""

    def decref(self, n: int = 1) -> int:
        """Return the number of references that are left."""
        return self.refcount

    def stored(self) -> StoredEvent:
        """Return it as it is kept in the store."""
        headers = tuple(self.headers) if self.headers else ()
        at = round(self.timestamp * 1000)
        return StoredEvent(self.topic, self.partition, self.offset, at, self.key, self.value, headers, self.channel)


batch_message: ContextVar[EventMessage | None] = ContextVar("batch_message", default=None)
"""The last event of those that the running code has from `take`."""


def current_message() -> EventMessage | None:
    """Return the message of the event that the running code processes, None if there is none."""
    event = library.current_event()
    message: Any = batch_message.get() if event is None else event.message
    return message if message.__class__ is EventMessage and message.state == BEGUN else None
