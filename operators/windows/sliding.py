"""Folds in sliding windows.

There is a window for each set of a key's records that are no further apart than the size.

One window ends at each record, and one begins just after each record that others follow within the size. A record
changes those windows that hold it, and may bring up to three: the one that ends at it, made from the youngest window
that ended before; the one that begins just after the record before it; the one that begins just after it, which is what
the window holding it had already. Records younger than 0 + size share a window that begins at 0. The order of results,
and what counts as late, is that of Kafka Streams (KStreamSlidingWindowAggregate).

A key's windows are found by a list of their starts, kept in the same store, so nothing is searched. A window is
forgotten when one begins so much later that no record which is not late can need it, or, behind a watermark, when time
has come as far. Those that expire next are known (`new_windows.py`), or found by a scan from the oldest start that the
store may have.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Any, TypeAlias

from ...state.cache import StateCache
from ...state.keys import window_key
from ..record import Record, Update, Windowed
from ..serdes.value_copies import fresh
from ..stores.entries import BOOKS, HEAD, NEWEST_START_KEY, Entry, Head, clock_of
from ..time.windows import SlidingWindows
from .new_windows import NEVER, NewWindows
from .window_operator import Send, WindowConfig, WindowOperator

__all__ = ["SlidingFold"]

Staged: TypeAlias = tuple[int, Entry | None, Any, int, Entry | None]
"""A changed window: its start, its new entry and result, the event time of that, and the entry before."""

LOWEST = 0

WindowChange: TypeAlias = tuple[int, Entry | None, Entry | None, int]
"""A window that a record changes: its start, what it is made from, what it was, and the kind of the change."""

PLAIN, COPIED, AGAIN = 0, 1, 2
"""Kinds of changes: a window that begins just after the record, and so does not hold it; one that was just made."""


class SlidingFold(WindowOperator[StateCache[Any, Any]]):
    """A fold per key and sliding window. Null values are dropped as null keys are."""

    reasons = ("null key", "null value", "late")

    def __init__(self, config: WindowConfig, cache: StateCache[Any, Any], windows: SlidingWindows) -> None:
        super().__init__(config, cache)
        self._windows = windows
        self._watermarked = config.watermarked
        self._newest = -1
        self._step = self._forget_step(windows.kept)
        self._sent_before = 0  # on close, windows that start before this were sent
        self._unsent = LOWEST  # no window that is not sent starts before this
        self._stored = LOWEST  # no window that is found by scans starts before this
        self._oldest = LOWEST  # and no window at all before this
        self._new = NewWindows(BOOKS)
        self._begun = False

    def _fold(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        cache, drops, config, size, span = self._cache, self.drops, self._config, self._windows.size, self._windows.span
        touched, by_records, on_close = cache.dirty_add, not self._watermarked, self._emit.on_close
        take, calls, shown_of = config.fold.take, config.fold.calls, config.fold.shown
        on_update, noted = self._emit.on_update, self._emit.every is not None
        updates = config.updates and on_update
        time = self.time
        for record in records:
            key, value, timestamp = record.key, record.value, record.timestamp
            if key is None or value is None:
                drops["null key" if key is None else "null value"] += 1
                continue
            if timestamp < time - span:
                self.drop_late(record)
                continue
            staged: list[Staged] = []
            planned, late = self._changes(key, timestamp, time)
            moved = False
            for start, entry, before, kind in planned:
                if kind == AGAIN:
                    before = staged[-1][1]
                newest = timestamp if entry is None or entry[0] < timestamp else entry[0]
                if kind == COPIED and entry is not None:
                    shown = shown_of(entry) if on_update else None
                else:
                    entry, shown = take(entry, fresh(value) if calls else value, newest)
                if updates:
                    shown = Update(None if before is None else shown_of(before), shown)
                staged.append((start, entry, shown, newest, before))
                moved |= (before is None) != (entry is None)
            if late:
                self.drop_late(record, late, whole=not staged)
            for start, entry, shown, newest, before in staged:
                slot = (start, key)
                cache[slot] = entry
                touched(slot)
                if start > self._newest:
                    self._newest = start
                if on_update:
                    emit(Record(Windowed(key, start, start + size), shown, newest, record.headers, record.offset))
                elif noted:
                    self.note(slot, before, newest)
            if moved:
                self._keep(key, staged)
            if by_records and timestamp > time:
                self.time = time = timestamp
            if on_close:
                self._send_closed(record.offset, emit)
            self._expire()

    def _changes(self, key: Any, timestamp: int, time: int) -> tuple[list[WindowChange], int]:
        """Return what a record changes, in order, and for how many windows it is late."""
        cache, size = self._cache, self._windows.size
        head: Any = cache[HEAD, key] or ()
        entries: Any = ()
        first = max(timestamp - 2 * size, self._kept_from())
        if head and head[-1] >= first:
            starts = head[bisect_left(head, first) : bisect_left(head, timestamp + 2)]
            entries = [(start, cache[start, key]) for start in starts]
        planned = (early_changes if timestamp < size else changes)(entries, timestamp, size)
        closed = max(timestamp, time) - self._windows.span
        kept = [change for change in planned if change[3] == COPIED or change[0] >= closed]
        return kept, len(planned) - len(kept)

    def _keep(self, key: Any, staged: list[Staged]) -> None:
        """Update the list of the windows of a key, of which some have come or gone."""
        starts: list[int] = list(self._cache[HEAD, key] or ())
        for start, entry, _, _, before in staged:
            if (before is None) != (entry is None):
                if entry is None:
                    starts.remove(start)
                elif start not in starts:
                    insort(starts, start)
                    self._unsent = min(self._unsent, start)
                    left = self._new.add(start, key)
                    if left is not None:
                        self._stored = min(self._stored, left)
                    self._oldest = min(self._oldest, start)
        self._cache.put((HEAD, key), Head(starts) if starts else None)

    def _settle(self, offset: int, emit: Send) -> None:
        """Send what has closed and forget what has expired."""
        if self._emit.on_close:
            self._send_closed(offset, emit)
        self._expire()

    def _send_closed(self, offset: int, emit: Send) -> None:
        closed = self.time - self._windows.span
        if self._unsent < closed:
            first = self._sent_before
            if self._emit.drop_expired:
                first = max(first, self._kept_from())
            for slot, entry in self._scan(first, closed):
                emit(self._final(slot, entry, offset))
            self._sent_before = closed
            self._unsent = self._first_start(closed)

    def _expire(self) -> None:
        """Forget what has expired, in the order of starts and keys."""
        kept = self._in_steps(self._kept_from())
        if self._oldest >= kept:
            return
        new = self._new
        if self._stored < kept:
            first, self._stored = self._stored, NEVER
            for slot, _ in self._scan(first, new.bound + 1):
                if slot[0] >= kept:
                    self._stored = slot[0]
                    break
                if not self._waits(slot):
                    self._forget(slot)
        for slot in new.take(kept, self._cache.encode_key):
            if self._cache[slot] is not None and not self._waits(slot):
                self._forget(slot)
        self._oldest = min(self._stored, new.oldest)

    def _move(self, before: int, offset: int, emit: Send) -> None:
        self._settle(offset, emit)

    def _closes_by(self, time: int) -> bool:
        if not self._emit.on_close:
            return self._first_start(LOWEST) < self._in_steps(self._kept_at(time))
        return next(self._scan(self._sent_before, time - self._windows.span), None) is not None

    def _begin(self, now: int) -> None:
        super()._begin(now)
        if not self._begun:
            last = next(self._cache.scan(window_key(BOOKS + 1, b""), None, True), None)
            self._new.bound, self._begun = BOOKS if last is None else last[0][0], True
        self._newest = clock_of(self._cache[NEWEST_START_KEY])
        self._recorded = self._newest
        self._sent_before = max(self.time - self._windows.span, 0)

    def _end(self) -> None:
        super()._end()
        if self._newest != self._recorded:
            self._cache.put(NEWEST_START_KEY, (self._newest,))

    def _kept_from(self) -> int:
        """Return the start before which windows are no longer found, and can be forgotten."""
        return self._kept_at(self.time if self._watermarked else self._newest)

    def _kept_at(self, newest: int) -> int:
        """Return that start when `newest` is the newest start, or the time.

        With results on close it is one later.
        """
        return newest - self._windows.kept + (not self._emit.on_close)

    def _scan(self, first: int, after: int | None) -> Iterator[tuple[Any, Any]]:
        """Return the entries of windows that start from `first` on and before `after`."""
        return self._cache.scan(window_key(first, b""), None if after is None else window_key(after, b""))

    def _first_start(self, first: int) -> int:
        """Return the first start from there on."""
        return next((slot[0] for slot, _ in self._scan(first, None)), NEVER)

    def _windowed(self, slot: Any) -> Any:
        start, key = slot
        return Windowed(key, start, start + self._windows.size)

    def _forget(self, slot: Any) -> None:
        start, key = slot
        cache = self._cache
        cache.delete(slot)
        starts: Any = cache[HEAD, key] or ()
        starts = starts[1:] if starts and starts[0] == start else [other for other in starts if other != start]
        cache.put((HEAD, key), Head(starts) if starts else None)

    def _forget_sent(self, slot: Any) -> None:
        if slot[0] < self._kept_from() and self._cache[slot] is not None:
            self._forget(slot)


Entries = list[tuple[int, Entry]]


def changes(entries: Entries, timestamp: int, size: int) -> list[WindowChange]:
    """Return the changes that a record causes.

    `entries` are the key's windows from two sizes before it to just after it.
    """
    found: list[WindowChange] = []
    seen: set[int] = set()
    earlier: Entry | None = None  # the youngest window that ended before the record
    holding: Entry | None = None  # the youngest that began by the record and ends after it
    previous: int | None = None  # the time of the record before
    ends_here = begins_after = False
    for start, entry in reversed(entries):
        seen.add(start)
        end = start + size
        if start == timestamp + 1:
            begins_after = True
        elif end > timestamp:
            holding = holding or entry
            found.append((start, entry, entry, PLAIN))
        elif end == timestamp:
            ends_here = True
            found.append((start, entry, entry, PLAIN))
            if entry[0] == timestamp:
                return found  # a record of this time was there: so are all its windows
            previous = entry[0]
        else:
            earlier, previous = entry, entry[0]
            break
    if previous is not None and previous + 1 not in seen and previous + 1 + size >= timestamp:
        found.append((previous + 1, None, None, PLAIN))
    if not ends_here:
        reached = previous is not None and timestamp - size <= previous
        again = bool(found) and found[-1][0] == timestamp - size  # Kafka Streams makes and sends it twice, too
        found.append((timestamp - size, earlier if reached else None, None, AGAIN if again else PLAIN))
    if not begins_after and holding is not None and holding[0] > timestamp:
        found.append((timestamp + 1, holding, None, COPIED))
    return found


def early_changes(entries: Entries, timestamp: int, size: int) -> list[WindowChange]:
    """Return the same for a record before `size`: it counts in the window that begins at 0."""
    found: list[WindowChange] = []
    seen: set[int] = set()
    common: Entry | None = None
    holding: Entry | None = None
    previous: int | None = None
    begins_after = False
    for start, entry in entries:
        seen.add(start)
        if start == 0:
            common = entry
            if entry[0] < timestamp:
                previous = entry[0]
        elif start <= timestamp:
            holding = entry
            found.append((start, entry, entry, PLAIN))
        else:
            begins_after = True
    if holding is None and common is not None and common[0] > timestamp:
        holding = common
    if not begins_after and holding is not None and holding[0] > timestamp:
        found.append((timestamp + 1, holding, None, COPIED))
    if previous is not None and previous + 1 not in seen:
        found.append((previous + 1, None, None, PLAIN))
    found.append((0, common, common, PLAIN))
    return found
