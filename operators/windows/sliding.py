"""Folds in sliding windows: for each set of a key's records that are no further apart than the size there is a window.

One window ends at each record, and one begins just after each record that others follow within the size. A record
changes those windows that hold it, and may bring up to three: the one that ends at it, made from the youngest window
that ended before; the one that begins just after the record before it; the one that begins just after it, which is what
the window holding it had already. Records younger than 0 + size share a window that begins at 0. The order of results,
and what counts as late, is that of Kafka Streams (KStreamSlidingWindowAggregate).

A key's windows are found by a list of their starts, kept in the same store, so nothing is searched. The oldest start in
the store says when there is something to send or to forget. A window is forgotten when one begins so much later that no
record which is not late can need it, or, behind a watermark, when time has come as far.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from ...state.cache import StateCache
from ...state.keys import window_key
from ..aggregates.fold import Fold, Loop
from ..record import Record, Windowed
from ..stores.entries import HEAD, NEWEST, Entry, Head, clock_of
from ..time.windows import Emit, SlidingWindows
from .windowing import Making, Windowing, moves

__all__ = ["SlidingFold", "sliding_loop"]

LOWEST, NEVER = 0, 1 << 62

LOOP = """\
def loop(step, records, cache, drops, emit):
    touched = cache.dirty_add
    time = step.time
    for record in records:
        key = record.key
        value = record.value
        if key is None or value is None:
            drops["null key" if key is None else "null value"] += 1
            continue
        timestamp = record.timestamp
        if (timestamp if timestamp > time else time) - timestamp > {span}:
            drops["late"] += 1{late}
            step.lateness = max(step.lateness, time - timestamp)
            continue
        staged = []
        changes, late = step.changes(key, timestamp, time)
        for start, entry, before, kind in changes:
            shown = None
            if kind == AGAIN:
                before = staged[-1][1]
            if entry is None:
                <start>
                newest = timestamp
            else:
                <load>
                if newest < timestamp:
                    newest = timestamp
            if kind != COPIED:
                <own>
                <update>
            <show>
            staged.append(((start, key), <entry>, start, shown, newest, before))
        if late:
            drops["late"] += late{late_for_all}
            step.lateness = max(step.lateness, time - timestamp)
        for slot, entry, start, shown, newest, before in staged:
            cache[slot] = entry
            touched(slot)
            {send}
        step.keep(key, staged)
        if {moves}:
            step.time = time = timestamp
        step.settle(record.offset, emit)
"""

EMIT = "emit(Record(Windowed(key, start, start + {size}), shown, newest, record.headers, record.offset))"
NOTE = "step.note(slot, before, newest)"


COPIED, AGAIN = 1, 2
"""Kinds of changes: a window that begins just after the record, and so does not hold it; one that was just made."""


class Change(NamedTuple):
    """A window that a record changes."""

    start: int
    entry: Entry | None
    """What it is made from."""
    before: Entry | None
    """What it was."""
    kind: int = 0


def sliding_loop(
    fold: Fold, windows: SlidingWindows, emit: Emit, *, updates: bool, late: bool, watermarked: bool
) -> Loop:
    """The loop of a fold a key and sliding window."""
    send = "pass" if emit.on_close else NOTE if emit.every is not None else EMIT.format(size=windows.size)
    wanted = "step.late(record)" if late else ""
    template = LOOP.format(
        span=windows.span,
        moves=moves(watermarked),
        send=send,
        late=wanted and f"; {wanted}",
        late_for_all=wanted and f"\n            if not staged:\n                {wanted}",
    )
    names = {"Record": Record, "Windowed": Windowed, "COPIED": COPIED, "AGAIN": AGAIN}
    return fold.loop("sliding aggregate", template, show=emit.on_update, updates=updates, **names)


class SlidingFold(Windowing):
    """A fold a key and sliding window. Null values are dropped as null keys are."""

    reasons = ("null key", "null value", "late")

    def __init__(
        self, making: Making, cache: StateCache[Any, Any], windows: SlidingWindows, *, watermarked: bool
    ) -> None:
        super().__init__(making, cache)
        self._windows = windows
        self._watermarked = watermarked
        self._newest = -1
        self._sent_before = 0  # on close, windows that start before this were sent
        self._unsent = self._oldest = LOWEST  # no window that is not sent, and none at all, starts before these

    def changes(self, key: Any, timestamp: int, time: int) -> tuple[list[Change], int]:
        """What a record changes, in order, and for how many windows it is late."""
        cache, size = self._cache, self._windows.size
        head: Any = cache[HEAD, key] or ()
        first = max(timestamp - 2 * size, self._kept_from())
        starts = head[bisect_left(head, first) : bisect_left(head, timestamp + 2)]
        entries: Any = [(start, cache[start, key]) for start in starts]
        planned = (early_changes if timestamp < size else changes)(entries, timestamp, size)
        closed = max(timestamp, time) - self._windows.span
        kept = [change for change in planned if change.kind == COPIED or change.start >= closed]
        return kept, len(planned) - len(kept)

    def keep(self, key: Any, staged: list[tuple[Any, ...]]) -> None:
        """Takes note of windows that have come and gone."""
        starts: list[int] | None = None
        for _, entry, start, _, _, before in staged:
            if start > self._newest:
                self._newest = start
            if (before is None) != (entry is None):
                if starts is None:
                    starts = list(self._cache[HEAD, key] or ())
                if entry is None:
                    starts.remove(start)
                elif start not in starts:
                    insort(starts, start)
                    self._oldest = min(self._oldest, start)
                    self._unsent = min(self._unsent, start)
        if starts is not None:
            self._cache.put((HEAD, key), Head(starts) if starts else None)

    def settle(self, offset: int, emit: Callable[[Any], None]) -> None:
        """Sends what has closed and forgets what has expired."""
        if self._emit.on_close:
            closed = self.time - self._windows.span
            if self._unsent < closed:
                first = self._sent_before
                if self._emit.drop_expired:
                    first = max(first, self._kept_from())
                for slot, entry in self._scan(first, closed):
                    emit(self._final(slot, entry, offset))
                self._sent_before = closed
                self._unsent = self._first_start(closed)
        kept = self._kept_from()
        if self._oldest < kept:
            for slot, _ in self._scan(self._oldest, None):
                if slot[0] >= kept:
                    self._oldest = slot[0]
                    return
                if not self._waits(slot):
                    self._forget(slot)
            self._oldest = NEVER

    def _move(self, before: int, offset: int, emit: Callable[[Any], None]) -> None:
        self.settle(offset, emit)

    def _closes_by(self, time: int) -> bool:
        if not self._emit.on_close:
            return self._first_start(LOWEST) <= time - self._windows.kept
        return next(self._scan(self._sent_before, time - self._windows.span), None) is not None

    def _begin(self) -> None:
        super()._begin()
        self._newest = clock_of(self._cache[NEWEST])
        self._recorded = self._newest
        self._sent_before = max(self.time - self._windows.span, 0)

    def _end(self) -> None:
        if self._newest != self._recorded:
            self._cache.put(NEWEST, (self._newest,))

    def _kept_from(self) -> int:
        """Windows that start before this are not found any more, and can be forgotten: on close one later."""
        newest = self.time if self._watermarked else self._newest
        return newest - self._windows.kept + (not self._emit.on_close)

    def _scan(self, first: int, after: int | None) -> Iterator[tuple[Any, Any]]:
        """The entries of windows that start from `first` on and before `after`."""
        return self._cache.scan(window_key(first, b""), None if after is None else window_key(after, b""))

    def _first_start(self, first: int) -> int:
        """The first start from there on."""
        return next((slot[0] for slot, _ in self._scan(first, None)), NEVER)

    def _windowed(self, slot: Any) -> Any:
        start, key = slot
        return Windowed(key, start, start + self._windows.size)

    def _forget(self, slot: Any) -> None:
        start, key = slot
        self._cache.delete(slot)
        starts = [other for other in self._cache[HEAD, key] or () if other != start]
        self._cache.put((HEAD, key), Head(starts) if starts else None)

    def _forget_sent(self, slot: Any) -> None:
        if slot[0] < self._kept_from() and self._cache[slot] is not None:
            self._forget(slot)


Entries = list[tuple[int, Entry]]


def changes(entries: Entries, timestamp: int, size: int) -> list[Change]:
    """What a record changes; `entries` are the key's windows from two sizes before it to just after it."""
    found: list[Change] = []
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
            found.append(Change(start, entry, entry))
        elif end == timestamp:
            ends_here = True
            found.append(Change(start, entry, entry))
            if entry[0] == timestamp:
                return found  # a record of this time was there: so are all its windows
            previous = entry[0]
        else:
            earlier, previous = entry, entry[0]
            break
    if previous is not None and previous + 1 not in seen and previous + 1 + size >= timestamp:
        found.append(Change(previous + 1, None, None))
    if not ends_here:
        reached = previous is not None and timestamp - size <= previous
        again = bool(found) and found[-1].start == timestamp - size  # Kafka Streams makes and sends it twice, too
        found.append(Change(timestamp - size, earlier if reached else None, None, AGAIN if again else 0))
    if not begins_after and holding is not None and holding[0] > timestamp:
        found.append(Change(timestamp + 1, holding, None, COPIED))
    return found


def early_changes(entries: Entries, timestamp: int, size: int) -> list[Change]:
    """The same for a record before `size`: it counts in the window that begins at 0."""
    found: list[Change] = []
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
            found.append(Change(start, entry, entry))
        else:
            begins_after = True
    if holding is None and common is not None and common[0] > timestamp:
        holding = common
    if not begins_after and holding is not None and holding[0] > timestamp:
        found.append(Change(timestamp + 1, holding, None, COPIED))
    if previous is not None and previous + 1 not in seen:
        found.append(Change(previous + 1, None, None))
    found.append(Change(0, common, common))
    return found
