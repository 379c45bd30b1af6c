"""Folds in windows of fixed size: which windows a record counts in, what is sent and when, what is forgotten.

Time is the step's own: the largest timestamp of a record with a key, kept as the store's clock entry, moved record by
record. A record that is late for a window is not counted in it; `late` says how often that happened. Results go out on
update, one a window touched, or once on close, when stream time passes a window's end and grace; entries are deleted
when the newest window begins beyond that. Both walk the store over just the windows concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..state.cache import StateCache
from ..state.keys import window_key
from .entries import CLOCK, clock_of
from .fold import Fold, Loops
from .poison import cause_of, poison
from .record import Record, Update, Windowed
from .windows import Emit, TimeWindows

__all__ = ["WindowedFold", "windowed_loops"]

Records = list[Record[Any, Any]]

START = """\
def loop(step, records, cache, drops, emit):
    touched = cache.dirty_add
    time = step.time
    edge = step.edge(time)
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        timestamp = record.timestamp
"""

ONE_WINDOW = """\
        start = timestamp - timestamp % {size}
        if start + {span} <= time:
            drops["late"] += 1
            continue
        value = record.value
        slot = (start, key)
        entry = cache[slot]
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
            entry = cache[slot]
            if entry is None:
                <start>
                newest = timestamp
            else:
                <load>
                if newest < timestamp:
                    newest = timestamp
            shown = None
            <update>
            <show>
            staged.append((slot, <entry>, start, shown, newest))
        drops["late"] += late
        for slot, entry, start, shown, newest in staged:
            cache[slot] = entry
            touched(slot)
"""

EMIT = "emit(Record(Windowed(key, start, start + {size}), shown, newest, record.headers, record.offset))\n"

END = """\
        if timestamp > time:
            step.time = timestamp
            if timestamp >= edge:
                step.cross(time, timestamp, record.offset, emit)
                edge = step.edge(timestamp)
            time = timestamp
"""


def windowed_loops(fold: Fold, windows: TimeWindows, emit: Emit, *, updates: bool) -> Loops:
    """The loop of a fold a key and window. With several windows a record counts in all of them or, failing, in none."""
    middle = ONE_WINDOW if windows.tumbling else MANY_WINDOWS
    if not emit.on_close:
        middle += " " * (8 if windows.tumbling else 12) + EMIT
    template = (START + middle + END).format(size=windows.size, span=windows.span)
    return fold.loop(
        "windowed aggregate",
        template,
        show=not emit.on_close,
        updates=updates,
        Record=Record,
        Windowed=Windowed,
        starts=windows.starts,
    )


class WindowedFold:
    """A fold a key and window."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, Any],
        loops: Loops,
        shown: Callable[[Any], Any],
        windows: TimeWindows,
        emit: Emit,
        *,
        updates: bool,
    ) -> None:
        self._step = step
        self._cache = cache
        self._loops = loops
        self._shown = shown
        self._windows = windows
        self._emit = emit
        self._updates = updates
        self._swept = False  # the first sweep begins at the front, in case windows were larger when entries were made
        self.time = -1
        """Stream time, while a batch is processed."""
        self.drops = {"null key": 0, "late": 0}

    def process(self, records: Records, now: int) -> Records:
        began = self.time = clock_of(self._cache[CLOCK])
        done: Records = []
        rest = iter(records)
        try:
            self._loops.like(records)(self, rest, self._cache, self.drops, done.append)
        except Exception as error:
            failure = poison(self._step, records, rest, done)
            raise failure from cause_of(failure, error)
        finally:
            if self.time != began:
                self._cache.put(CLOCK, (self.time,))
        return done

    def edge(self, time: int) -> int:
        """The next stream time at which there is something to emit or to forget."""
        windows = self._windows
        following = windows.newest_start(time) + windows.advance
        return min(following, windows.next_close(time)) if self._emit.on_close else following

    def cross(self, before: int, time: int, offset: int, emit: Callable[[Any], None]) -> None:
        """Stream time has passed an edge."""
        windows, on_close = self._windows, self._emit.on_close
        if on_close:
            size = windows.size
            first = windows.closed_before(before)
            if self._emit.drop_expired:
                first = max(first, windows.expired_before(time, on_close=True))
            for (start, key), entry in self._between(first, windows.closed_before(time)):
                shown = self._shown(entry)
                if self._updates:
                    shown = Update(None, shown)
                emit(Record(Windowed(key, start, start + size), shown, entry[0], (), offset))
        forgotten = windows.expired_before(before, on_close=on_close) if self._swept else 0
        self._swept = True
        for slot, _ in self._between(forgotten, windows.expired_before(time, on_close=on_close)):
            self._cache.delete(slot)

    def _between(self, first: int, after: int) -> Iterator[tuple[Any, Any]]:
        """The entries of windows that start from `first` on and before `after`."""
        if after <= 0 or after <= first:
            return iter(())
        return self._cache.scan(window_key(max(first, 0), b""), window_key(after, b""))
