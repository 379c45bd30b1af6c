"""Folds in windows that begin and end at fixed times: which windows a record counts in, what is sent and when.

A record that is late for a window is not counted in it; `late` says how often that happened. Results go out on update,
one a window touched, or once on close, when stream time passes a window's end and grace, or so often by the wall clock;
entries are deleted when the newest window begins beyond that. All walk the store over just the windows concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...state.cache import StateCache
from ...state.keys import window_key
from ..aggregates.fold import Fold, Loop
from ..record import Record, Windowed
from ..time.calendars import CalendarWindows
from ..time.windows import Emit, FixedWindows
from .windowing import Making, Windowing, moves

__all__ = ["WindowedFold", "windowed_loop"]

START = """\
def loop(step, records, cache, drops, emit):
    touched = cache.dirty_add
    time = step.time
    edge = step.edge(time)
    start = end = 0
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        timestamp = record.timestamp
"""

OF_ONE_SIZE = """\
        start = timestamp - timestamp % {size}
        if start + {span} <= time:
"""

OF_CALENDAR = """\
        if not start <= timestamp < end:
            start, end = interval(timestamp)
        if end + {grace} <= time:
"""

ONE_WINDOW = """\
            drops["late"] += 1{late}
            step.lateness = max(step.lateness, time - timestamp)
            continue
        value = record.value
        slot = (start, key)
        before = entry = cache[slot]
        if entry is None:
            <start>
            newest = timestamp
        else:
            <load>
            if newest < timestamp:
                newest = timestamp
        <update>
        <show>
        cache[slot] = <entry>
        touched(slot)
"""

MANY_WINDOWS = """\
        value = record.value
        closed = (timestamp if timestamp > time else time) - {span}
        staged = []
        late = 0
        for start in starts(timestamp):
            if start <= closed:
                late += 1
                continue
            slot = (start, key)
            before = entry = cache[slot]
            if entry is None:
                <start>
                newest = timestamp
            else:
                <load>
                if newest < timestamp:
                    newest = timestamp
            shown = None
            <own>
            <update>
            <show>
            staged.append((slot, <entry>, start, shown, newest, before))
        if late:
            drops["late"] += late{late_for_all}
            step.lateness = max(step.lateness, time - timestamp)
        for slot, entry, start, shown, newest, before in staged:
            cache[slot] = entry
            touched(slot)
"""

EMIT = "emit(Record(Windowed(key, start, {end}), shown, newest, record.headers, record.offset))\n"
NOTE = "step.note(slot, before, newest)\n"

END = """\
        if {moves}:
            step.time = timestamp
            if timestamp >= edge:
                step.cross(time, timestamp, record.offset, emit)
                edge = step.edge(timestamp)
            time = timestamp
"""


def windowed_loop(
    fold: Fold, windows: FixedWindows, emit: Emit, *, updates: bool, late: bool, watermarked: bool
) -> Loop:
    """The loop of a fold a key and window. With several windows a record counts in all of them or, failing, in none."""
    names: dict[str, Any]
    if isinstance(windows, CalendarWindows):
        middle, end, names = OF_CALENDAR + ONE_WINDOW, "end", {"interval": windows.interval}
        values = {"grace": windows.grace}
    else:
        middle = OF_ONE_SIZE + ONE_WINDOW if windows.tumbling else MANY_WINDOWS
        end, names = f"start + {windows.size}", {"starts": windows.starts}
        values = {"size": windows.size, "span": windows.span}
    if not emit.on_close:
        middle += " " * (8 if windows.tumbling else 12) + (NOTE if emit.every is not None else EMIT)
    wanted = "step.late(record)" if late else ""
    template = (START + middle + END).format(
        end=end,
        moves=moves(watermarked),
        late=wanted and f"; {wanted}",
        late_for_all=wanted and f"\n            if not staged:\n                {wanted}",
        **values,
    )
    return fold.loop(
        "windowed aggregate",
        template,
        show=emit.on_update,
        updates=updates,
        Record=Record,
        Windowed=Windowed,
        **names,
    )


class WindowedFold(Windowing):
    """A fold a key and window."""

    def __init__(self, making: Making, cache: StateCache[Any, Any], windows: FixedWindows) -> None:
        super().__init__(making, cache)
        self._windows = windows
        self._swept = False  # the first sweep begins at the front, in case windows were larger when entries were made

    def edge(self, time: int) -> int:
        """The next stream time at which there is something to emit or to forget."""
        windows = self._windows
        following = windows.next_start(time)
        return min(following, windows.next_close(time)) if self._emit.on_close else following

    def cross(self, before: int, time: int, offset: int, emit: Callable[[Any], None]) -> None:
        """Stream time has passed an edge."""
        windows, on_close = self._windows, self._emit.on_close
        if on_close:
            first = windows.closed_before(before)
            if self._emit.drop_expired:
                first = max(first, windows.expired_before(time, on_close=True))
            for slot, entry in self._between(first, windows.closed_before(time)):
                emit(self._final(slot, entry, offset))
        forgotten = windows.expired_before(before, on_close=on_close) if self._swept else windows.first_start
        self._swept = True
        for slot, _ in self._between(forgotten, windows.expired_before(time, on_close=on_close)):
            if not self._waits(slot):
                self._cache.delete(slot)

    def _move(self, before: int, offset: int, emit: Callable[[Any], None]) -> None:
        if self.time >= min(self.edge(before), self._windows.next_close(before)):
            self.cross(before, self.time, offset, emit)

    def _closes_by(self, time: int) -> bool:
        windows, on_close = self._windows, self._emit.on_close
        after = windows.expired_before(time, on_close=on_close)
        if on_close:
            after = max(after, windows.closed_before(time))
        return next(self._between(windows.first_start, after), None) is not None

    def _between(self, first: int, after: int) -> Iterator[tuple[Any, Any]]:
        """The entries of windows that start from `first` on and before `after`."""
        return self._cache.scan(window_key(first, b""), window_key(after, b"")) if after > first else iter(())

    def _windowed(self, slot: Any) -> Any:
        start, key = slot
        return Windowed(key, start, self._windows.end(start))

    def _forget_sent(self, slot: Any) -> None:
        if slot[0] < self._windows.expired_before(self.time, on_close=False):
            self._cache.delete(slot)
