"""The base of steps with windows: stream time, late records, results that wait.

Time is the step's own: the largest timestamp of a record that it takes, kept as the store's clock entry, moved record
by record; or, behind a watermark, what `advance` says. The loop itself, what is sent and what is forgotten are in
`windowed.py`, `sliding.py` and `sessions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from ...state.cache import StateCache
from ...state.window_cache import WindowCache
from ..aggregates.fold import FoldFunctions
from ..graph.operator import OptionalCall
from ..graph.record_loop import RecordLoop
from ..record import Record, Update
from ..stores.entries import STREAM_TIME_KEY, Entry, clock_of
from ..time.windows import Emit
from .emit_throttle import EmitThrottle

__all__ = ["Send", "WindowConfig", "WindowOperator"]

Send: TypeAlias = Callable[[Record[Any, Any]], None]

STEPS = 20
"""Windows that send each change are forgotten in so many steps of the time for which they are kept."""

C = TypeVar("C", WindowCache, StateCache[Any, Any])


@dataclass(frozen=True)
class WindowConfig:
    """What the operators of one step have in common."""

    step: str
    fold: FoldFunctions
    emit: Emit
    updates: bool
    """True when results say what the row was before."""
    late: bool
    """True when late records go to a port of their own."""
    watermarked: bool
    """True when time comes from `advance`, not from records."""


class WindowOperator(RecordLoop, Generic[C]):
    """A fold per key and window. Subclasses have the loop, and what moving time causes."""

    reasons: tuple[str, ...] = ("null key", "late")

    def __init__(self, config: WindowConfig, cache: C) -> None:
        super().__init__(config.step)
        self._config = config
        self._emit = config.emit
        self._cache = cache
        self.time = -1
        """Stream time, while a batch is processed."""
        self._time_before = -1
        self._step = 1
        """The steps of time, in ms, in which windows are forgotten."""
        self.drops = dict.fromkeys(self.reasons, 0)
        self.lateness = 0
        """How far behind time the latest record was that was dropped for it, in ms."""
        self._send_late: Send | None = None
        """Where late records go, if those are wanted, while a batch is processed."""
        self._throttled: EmitThrottle | None = None
        """The results that wait, where they are sent at intervals."""
        every = config.emit.every
        if every is not None:
            waiting = self._throttled = EmitThrottle(
                cache, every, config.fold.shown, self._windowed, updates=config.updates
            )
            self.note, self.gone = waiting.note, waiting.gone

    def handles(self, call: OptionalCall) -> bool:
        """Results wait, and ticks send them, only where they are sent at intervals."""
        if self._throttled is None and call in ("tick", "oldest_waiting"):
            return False
        return super().handles(call)

    def _no_results(self) -> Any:
        """One list of records, or two where late records are wanted."""
        return [[], []] if self._config.late else []

    def _run(self, records: Iterator[Record[Any, Any]], done: Any) -> None:
        if self._config.late:
            done, late = done
            self._send_late = late.append
        self._fold(records, done.append)

    def _fold(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        """Add records to their windows."""
        raise NotImplementedError

    def drop_late(self, record: Record[Any, Any], windows: int = 1, *, whole: bool = True) -> None:
        """Count the windows for which a record is late.

        A record that counts in no window at all is sent on as late.
        """
        self.drops["late"] += windows
        self.lateness = max(self.lateness, self.time - record.timestamp)
        if whole and self._send_late is not None:
            self._send_late(record)

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Move stream time.

        Moves by the wall clock are kept only where they close or forget a window.
        """
        self._begin(now)
        before = self.time
        done: list[Record[Any, Any]] = []
        if time > before and (offset >= 0 or self._closes_by(time)):
            self.time = time
            self._move(before, offset, done.append)
            self._end()
        return [done, []] if self._config.late else done

    def tick(self, now: int) -> Any:
        """Send the results that waited long enough."""
        self._begin(now)
        sent = [] if self._throttled is None else self._throttled.sent(now, self._forget_sent)
        return [sent, []] if self._config.late else sent

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest change whose result waits."""
        return None if self._throttled is None else self._throttled.oldest_waiting()

    def _move(self, before: int, offset: int, emit: Send) -> None:
        """Do what is to be done now that time has moved."""
        raise NotImplementedError

    def _closes_by(self, time: int) -> bool:
        """Whether the store has a window that closes or expires by this time."""
        raise NotImplementedError

    def _begin(self, now: int) -> None:
        self.time = self._time_before = clock_of(self._cache[STREAM_TIME_KEY])
        if self._throttled is not None:
            self._throttled.now = now

    def _end(self) -> None:
        if self.time != self._time_before:
            self._cache.put(STREAM_TIME_KEY, (self.time,))

    def _forget_step(self, kept: int) -> int:
        """Return the steps, in ms, in which windows that are kept for `kept` ms are forgotten.

        A scan costs more than a window. So expired windows stay for a moment in which no record can reach them; if
        results are sent when windows close, or wait, windows go at once.
        """
        return max(1, kept // STEPS) if self._emit.on_update else 1

    def _in_steps(self, time: int) -> int:
        """Return the end of the last of these steps by a time."""
        return time - time % self._step

    def _final(self, slot: Any, entry: Entry, offset: int) -> Record[Any, Any]:
        """Return the one result of a window that closed."""
        shown = self._config.fold.shown(entry)
        value = Update(None, shown) if self._config.updates else shown
        return Record(self._windowed(slot), value, entry[0], (), offset)

    def _waits(self, slot: Any) -> bool:
        """Return whether a slot that could be forgotten has a result that waits.

        It is then forgotten when the result is sent.
        """
        return self._throttled is not None and self._throttled.has(slot)

    def _windowed(self, slot: Any) -> Any:
        """Return the key of a result."""
        raise NotImplementedError

    def _forget_sent(self, slot: Any) -> None:
        """Forgets a slot whose last result was sent, if it had to wait for that."""
        raise NotImplementedError
