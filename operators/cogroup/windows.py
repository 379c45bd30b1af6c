"""Several streams into one aggregate a key and window, each stream with a time of its own.

As in Kafka Streams a record is late when its own stream has closed the window, whatever the others have: a stream that
lags behind is not held against its records. What can be forgotten is decided by the newest of the streams. A record of
a stream that lags so far behind that its window is forgotten makes a result of its own, which is not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...state.cache import StateCache
from ...state.keys import window_key
from ..aggregates.fold import Fold, Loop
from ..errors import cause_of, poison
from ..graph.operator import Operator
from ..record import Record, Update, Windowed
from ..stores.entries import clock_of, stream_clock
from ..time.windows import TimeWindows
from ..windows.windowing import moves

__all__ = ["CogroupWindows", "cogroup_loop"]

Records = list[Record[Any, Any]]

LOOP = """\
def loop(step, records, cache, drops, emit):
    touched = cache.dirty_add
    times = step.times
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        timestamp = record.timestamp
        value = record.value
        time = times[value.stream]
        closed = (timestamp if timestamp > time else time) - {span}
        forgotten = step.forgotten_by(timestamp)
        staged = []
        late = 0
        for start in starts(timestamp):
            if start <= closed:
                late += 1
                continue
            slot = (start, key)
            before = entry = None if start < forgotten else cache[slot]
            if entry is None:
                <start>
                newest = timestamp
            else:
                <load>
                if newest < timestamp:
                    newest = timestamp
            <own>
            <update>
            <show>
            staged.append((slot, <entry>, start, shown, newest))
        if late:
            drops["late"] += late
            step.lateness = max(step.lateness, time - timestamp)
        for slot, entry, start, shown, newest in staged:
            if start >= forgotten:
                cache[slot] = entry
                touched(slot)
            emit(Record(Windowed(key, start, start + {size}), shown, newest, record.headers, record.offset))
        if {moves}:
            times[value.stream] = timestamp
            step.forget(timestamp)
"""


def cogroup_loop(fold: Fold, windows: TimeWindows, *, updates: bool, watermarked: bool) -> Loop:
    """The loop of a fold a key and window. A record counts in all its windows or, failing, in none."""
    return fold.loop(
        "windowed cogroup",
        LOOP.format(size=windows.size, span=windows.span, moves=moves(watermarked)),
        show=True,
        updates=updates,
        Record=Record,
        Windowed=Windowed,
        Update=Update,
        starts=windows.starts,
    )


class CogroupWindows(Operator):
    """A fold a key and window of the contributions of several streams."""

    def __init__(self, step: str, cache: StateCache[Any, Any], loop: Loop, windows: TimeWindows, streams: int) -> None:
        self._step = step
        self._cache = cache
        self._loop = loop
        self._windows = windows
        self._clocks = [stream_clock(stream) for stream in range(streams)]
        self._newest = -1
        self._swept = False
        self.times: list[int] = []
        """The streams' times, while a batch is processed."""
        self.drops = {"null key": 0, "late": 0}
        self.lateness = 0

    def process(self, records: Records, now: int) -> Records:
        before = [clock_of(self._cache[clock]) for clock in self._clocks]
        self.times, self._newest = [*before], max(before)
        done: Records = []
        rest = iter(records)
        try:
            self._loop(self, rest, self._cache, self.drops, done.append)
        except Exception as error:
            failure = poison(self._step, records, rest, done)
            raise failure from cause_of(failure, error)
        finally:
            for clock, then, time in zip(self._clocks, before, self.times, strict=True):
                if time != then:
                    self._cache.put(clock, (time,))
        return done

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Moves the time of all streams; the wall clock alone has nothing to close here."""
        before = [clock_of(self._cache[clock]) for clock in self._clocks]
        if offset >= 0 and time > min(before):
            self._newest = max(before)
            self.forget(time)
            for clock, then in zip(self._clocks, before, strict=True):
                self._cache.put(clock, (max(time, then),))
        return []

    def forgotten_by(self, timestamp: int) -> int:
        """Windows that start before this are forgotten once a record with this timestamp has come."""
        return self._windows.expired_before(max(timestamp, self._newest), on_close=False)

    def forget(self, timestamp: int) -> None:
        """Deletes what is expired by this time, if it is the newest."""
        if timestamp <= self._newest:
            return
        windows = self._windows
        first = windows.expired_before(self._newest, on_close=False) if self._swept else 0
        after = windows.expired_before(timestamp, on_close=False)
        self._swept = True
        self._newest = timestamp
        if after > first:
            for slot, _ in self._entries(first, after):
                self._cache.delete(slot)

    def _entries(self, first: int, after: int) -> Iterator[tuple[Any, Any]]:
        return self._cache.scan(window_key(first, b""), window_key(after, b""))
