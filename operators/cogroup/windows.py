"""Windowed cogroup: one accumulator per key and window, and a stream time per stream.

As in Kafka Streams, a record is late if its own stream has closed the window, whatever the time of the others: records
of a stream that is behind are not late because of that. The newest time of all streams decides which windows are
deleted. If a stream is so far behind that the window of a record is deleted, the record produces a result of its own,
which is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...state.window_cache import WindowCache
from ..aggregates.fold import FoldFunctions
from ..graph.record_loop import RecordLoop, Records
from ..record import Record, Update, Windowed
from ..serdes.value_copies import fresh
from ..stores.entries import Entry, clock_of, stream_clock
from ..time.windows import TimeWindows

__all__ = ["CogroupWindows"]


class CogroupWindows(RecordLoop):
    """A fold per key and window of the contributions of several streams.

    A record counts in all its windows or, if the function fails, in none.
    """

    def __init__(
        self,
        step: str,
        cache: WindowCache,
        fold: FoldFunctions,
        windows: TimeWindows,
        streams: int,
        *,
        updates: bool,
        watermarked: bool,
    ) -> None:
        super().__init__(step)
        self._cache = cache
        self._fold = fold
        self._windows = windows
        self._updates = updates
        self._watermarked = watermarked
        self._clocks = [stream_clock(stream) for stream in range(streams)]
        self._newest = -1
        self._swept = False
        self._times_before: list[int] = []
        self._times: list[int] = []
        """The times of the streams, while a batch is processed."""
        self.drops = {"null key": 0, "late": 0}
        self.lateness = 0

    def _begin(self, now: int) -> None:
        self._times_before = [clock_of(self._cache[clock]) for clock in self._clocks]
        self._times, self._newest = [*self._times_before], max(self._times_before)

    def _end(self) -> None:
        for clock, before, time in zip(self._clocks, self._times_before, self._times, strict=True):
            if time != before:
                self._cache.put(clock, (time,))

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        cache, drops, times, windows = self._cache, self.drops, self._times, self._windows
        span, by_records = windows.span, not self._watermarked
        take, row_of, updates = self._fold.take, self._fold.shown, self._updates
        for record in records:
            key, timestamp = record.key, record.timestamp
            if key is None:
                drops["null key"] += 1
                continue
            value: Any = record.value
            stream: int = value.stream
            time = times[stream]
            closed = max(timestamp, time) - span
            forgotten = self._forgotten_by(timestamp)
            staged: list[tuple[int, Entry | None, Any, int]] = []
            late = 0
            for start in windows.starts(timestamp):
                if start <= closed:
                    late += 1
                    continue
                before = None if start < forgotten else cache.page(start).find(key)
                newest = timestamp if before is None or before[0] < timestamp else before[0]
                entry, shown = take(before, fresh(value), newest)
                if updates:
                    shown = Update(None if before is None else row_of(before), shown)
                staged.append((start, entry, shown, newest))
            if late:
                drops["late"] += late
                self.lateness = max(self.lateness, time - timestamp)
            for start, entry, shown, newest in staged:
                if start >= forgotten:
                    page = cache.page(start)
                    page[key] = entry
                    page.mark(key)
                windowed = Windowed(key, start, windows.end(start))
                done.append(Record(windowed, shown, newest, record.headers, record.offset))
            if by_records and timestamp > time:
                times[stream] = timestamp
                self._forget(timestamp)

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Move the time of all streams; the wall clock alone closes nothing here."""
        before = [clock_of(self._cache[clock]) for clock in self._clocks]
        if offset >= 0 and time > min(before):
            self._newest = max(before)
            self._forget(time)
            for clock, then in zip(self._clocks, before, strict=True):
                self._cache.put(clock, (max(time, then),))
        return []

    def _forgotten_by(self, timestamp: int) -> int:
        """Return the time such that windows that start before it are deleted after a record."""
        return self._windows.expired_before(max(timestamp, self._newest), on_close=False)

    def _forget(self, timestamp: int) -> None:
        """Delete what has expired by this time, if it is the newest."""
        if timestamp <= self._newest:
            return
        windows = self._windows
        first = windows.expired_before(self._newest, on_close=False) if self._swept else 0
        after = windows.expired_before(timestamp, on_close=False)
        self._swept = True
        self._newest = timestamp
        self._cache.forget(first, after)
