"""What all steps with windows share: the clock, records that are late, results that wait, and failures.

Time is the step's own: the largest timestamp of a record that it takes, kept as the store's clock entry, moved record
by record; or, behind a watermark, what `advance` says. The loop itself, what is sent and what is forgotten are in
`windowed.py`, `sliding.py` and `sessions.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...state.cache import StateCache
from ..aggregates.fold import Loop
from ..errors import cause_of, poison
from ..graph.operator import Operator, OptionalCall
from ..record import Record, Update
from ..stores.entries import CLOCK, Entry, clock_of
from ..time.windows import Emit
from .intervals import Waiting

__all__ = ["Making", "Windowing", "moves"]

Records = list[Record[Any, Any]]


@dataclass(frozen=True)
class Making:
    """What the operators of one step have in common."""

    step: str
    loop: Loop
    shown: Callable[[Entry], Any]
    """From an entry to its result."""
    emit: Emit
    updates: bool
    """True when results say what the row was before."""
    late: bool
    """True when late records go to a port of their own."""


def moves(watermarked: bool) -> str:
    """When a record moves time, as a loop has it."""
    return "False" if watermarked else "timestamp > time"


class Windowing(Operator):
    """A fold a key and window. Subclasses have the loop's calls."""

    reasons: tuple[str, ...] = ("null key", "late")

    def __init__(self, making: Making, cache: StateCache[Any, Any]) -> None:
        self._making = making
        self._emit = making.emit
        self._cache = cache
        self.time = -1
        """Stream time, while a batch is processed."""
        self.drops = dict.fromkeys(self.reasons, 0)
        self.lateness = 0
        """How far behind time the latest record was that was dropped for it, in ms."""
        self.late: Callable[[Record[Any, Any]], None]
        """Where a loop puts a late record, if those are wanted."""
        self._throttled: Waiting | None = None
        """The results that wait, where they are sent at intervals."""
        every = making.emit.every
        if every is not None:
            waiting = self._throttled = Waiting(cache, every, making.shown, self._windowed, updates=making.updates)
            self.note, self.gone = waiting.note, waiting.gone

    def handles(self, call: OptionalCall) -> bool:
        """Results wait, and ticks send them, only where they are sent at intervals."""
        if self._throttled is None and call in ("tick", "oldest_waiting"):
            return False
        return super().handles(call)

    def process(self, records: Records, now: int) -> Any:
        """One list of records, or two where late records are wanted."""
        cache, making = self._cache, self._making
        self._begin()
        began = self.time
        done: Records = []
        ports = [done, []] if making.late else [done]
        if making.late:
            self.late = ports[1].append
        if self._throttled is not None:
            self._throttled.now = now
        rest = iter(records)
        try:
            making.loop(self, rest, cache, self.drops, done.append)
        except Exception as error:
            failure = poison(making.step, records, rest, ports if making.late else done)
            raise failure from cause_of(failure, error)
        finally:
            if self.time != began:
                cache.put(CLOCK, (self.time,))
            self._end()
        return ports if making.late else done

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Moves stream time. By the wall clock it moves, and is kept, only where that closes or forgets a window."""
        self._begin()
        before = self.time
        done: Records = []
        if time > before and (offset >= 0 or self._closes_by(time)):
            self.time = time
            if self._throttled is not None:
                self._throttled.now = now
            self._move(before, offset, done.append)
            self._cache.put(CLOCK, (time,))
            self._end()
        return [done, []] if self._making.late else done

    def tick(self, now: int) -> Any:
        """Sends the results that waited long enough."""
        self._begin()
        sent = [] if self._throttled is None else self._throttled.sent(now, self._forget_sent)
        return [sent, []] if self._making.late else sent

    def oldest_waiting(self) -> int | None:
        """The event time of the oldest change whose result waits."""
        return None if self._throttled is None else self._throttled.oldest_waiting()

    def _move(self, before: int, offset: int, emit: Callable[[Any], None]) -> None:
        """Does what is to be done now that time has moved."""
        raise NotImplementedError

    def _closes_by(self, time: int) -> bool:
        """Whether the store has a window that closes or expires by this time."""
        raise NotImplementedError

    def _begin(self) -> None:
        """Reads the books."""
        self.time = clock_of(self._cache[CLOCK])

    def _end(self) -> None:
        """Writes books beside the clock, if the step has them."""

    def _final(self, slot: Any, entry: Entry, offset: int) -> Record[Any, Any]:
        """The one result of a window that closed."""
        shown = self._making.shown(entry)
        value = Update(None, shown) if self._making.updates else shown
        return Record(self._windowed(slot), value, entry[0], (), offset)

    def _waits(self, slot: Any) -> bool:
        """Whether a slot that could be forgotten has a result that waits: then it is forgotten when that is sent."""
        return self._throttled is not None and self._throttled.has(slot)

    def _windowed(self, slot: Any) -> Any:
        """The key of a result."""
        raise NotImplementedError

    def _forget_sent(self, slot: Any) -> None:
        """Forgets a slot whose last result was sent, if it had to wait for that."""
        raise NotImplementedError
