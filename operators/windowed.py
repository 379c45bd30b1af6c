"""Folds in windows of fixed size: which windows a record counts in, what is sent and when, what is forgotten.

Time is the step's own: the largest timestamp of a record with a key, kept as the store's clock entry, moved record by
record. A record that is late for a window is not counted in it; `late` says how often that happened. Results go out on
update, one a window touched, or once on close, when stream time passes a window's end and grace; entries are deleted
when the newest window begins beyond that. Both walk the store over just the windows concerned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import length_hint
from typing import Any

from ..state.cache import StateCache
from ..state.keys import window_key
from .entries import CLOCK, clock_of
from .errors import RecordError
from .fold import Fold
from .record import Record, Update, Windowed
from .windows import Emit, TimeWindows

__all__ = ["WindowedFold"]

Records = list[Record[Any, Any]]


class WindowedFold:
    """A fold a key and window."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, Any],
        fold: Fold,
        windows: TimeWindows,
        *,
        emit: Emit,
        updates: bool,
    ) -> None:
        self._step = step
        self._cache = cache
        self._fold = fold
        self._windows = windows
        self._on_close = emit.on_close
        self._drop_expired = emit.drop_expired
        self._updates = updates
        self._run = self._run_tumbling if windows.tumbling else self._run_overlapping
        self._swept = False  # the first sweep begins at the front, in case windows were larger when entries were made
        self._time = -1  # of the batch at hand
        self.drops = {"null key": 0, "late": 0}

    def process(self, records: Records, now: int) -> Records:
        began = self._time = clock_of(self._cache[CLOCK])
        done: Records = []
        rest = iter(records)
        try:
            self._run(rest, self._fold.choose(records[0].value), done.append)
        except Exception as error:
            index = len(records) - length_hint(rest) - 1
            raise RecordError(self._step, index, records[index], done) from error
        finally:
            if self._time != began:
                self._cache.put(CLOCK, (self._time, None))
        return done

    def _run_tumbling(
        self, records: Iterator[Record[Any, Any]], step: Callable[[Any, Any], Any], emit: Callable[[Any], None]
    ) -> None:
        cache, touched = self._cache, self._cache.dirty_add
        result, updates, on_update = self._fold.result, self._updates, not self._on_close
        size, span = self._windows.size, self._windows.span
        time = self._time
        edge = self._edge(time)
        for record in records:
            key = record.key
            if key is None:
                self.drops["null key"] += 1
                continue
            timestamp = record.timestamp
            start = timestamp - timestamp % size
            if start + span <= time:
                self.drops["late"] += 1
                continue
            slot = (start, key)
            entry = cache[slot]
            if entry is None:
                newest = timestamp
                state = step(None, record.value)
            else:
                newest, state = entry
                if newest < timestamp:
                    newest = timestamp
                state = step(state, record.value)
            if on_update:
                shown = state if result is None or state is None else result(state)
                if updates:
                    shown = Update(self._shown(entry), shown)
                emit(Record(Windowed(key, start, start + size), shown, newest, record.headers, record.offset))
            cache[slot] = None if state is None else (newest, state)
            touched(slot)
            if timestamp > time:
                self._time = timestamp
                if timestamp >= edge:
                    self._pass(time, timestamp, record.offset, emit)
                    edge = self._edge(timestamp)
                time = timestamp

    def _run_overlapping(
        self, records: Iterator[Record[Any, Any]], step: Callable[[Any, Any], Any], emit: Callable[[Any], None]
    ) -> None:
        cache, put, windows = self._cache, self._cache.put, self._windows
        result, updates, on_update = self._fold.result, self._updates, not self._on_close
        size, span = windows.size, windows.span
        time = self._time
        edge = self._edge(time)
        for record in records:
            key = record.key
            if key is None:
                self.drops["null key"] += 1
                continue
            timestamp, value = record.timestamp, record.value
            closed = max(time, timestamp) - span
            starts = windows.starts(timestamp)
            slots = [(start, key) for start in starts if start > closed]
            if len(slots) < len(starts):
                self.drops["late"] += len(starts) - len(slots)
            entries: list[Any] = []
            results: Records = []
            for slot in slots:  # all windows or, when the function fails, none
                entry = cache[slot]
                if entry is None:
                    newest = timestamp
                    state = step(None, value)
                else:
                    newest, state = entry
                    if newest < timestamp:
                        newest = timestamp
                    state = step(state, value)
                if on_update:
                    shown = state if result is None or state is None else result(state)
                    if updates:
                        shown = Update(self._shown(entry), shown)
                    windowed = Windowed(key, slot[0], slot[0] + size)
                    results.append(Record(windowed, shown, newest, record.headers, record.offset))
                entries.append(None if state is None else (newest, state))
            for slot, entry in zip(slots, entries, strict=True):
                put(slot, entry)
            for made in results:
                emit(made)
            if timestamp > time:
                self._time = timestamp
                if timestamp >= edge:
                    self._pass(time, timestamp, record.offset, emit)
                    edge = self._edge(timestamp)
                time = timestamp

    def _edge(self, time: int) -> int:
        """The next stream time at which there is something to emit or to forget."""
        windows = self._windows
        following = windows.newest_start(time) + windows.advance
        return min(following, windows.next_close(time)) if self._on_close else following

    def _pass(self, before: int, time: int, offset: int, emit: Callable[[Any], None]) -> None:
        """Stream time has moved past an edge."""
        windows, cache = self._windows, self._cache
        if self._on_close:
            result, size = self._fold.result, windows.size
            first = windows.closed_before(before)
            if self._drop_expired:
                first = max(first, windows.expired_before(time, on_close=True))
            for (start, key), (newest, state) in self._between(first, windows.closed_before(time)):
                shown: Any = state if result is None else result(state)
                if self._updates:
                    shown = Update(None, shown)
                emit(Record(Windowed(key, start, start + size), shown, newest, (), offset))
        forgotten = windows.expired_before(before, on_close=self._on_close) if self._swept else 0
        self._swept = True
        for slot, _ in self._between(forgotten, windows.expired_before(time, on_close=self._on_close)):
            cache.delete(slot)

    def _between(self, first: int, after: int) -> Iterator[tuple[Any, Any]]:
        """The entries of windows that start from `first` on and before `after`."""
        if after <= 0 or after <= first:
            return iter(())
        return self._cache.scan(window_key(max(first, 0), b""), window_key(after, b""))

    def _shown(self, entry: Any) -> Any:
        if entry is None:
            return None
        return entry[1] if self._fold.result is None else self._fold.result(entry[1])
