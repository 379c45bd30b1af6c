"""Folds in sessions: records of a key of which each follows another within the gap.

A record joins the sessions that it is within the gap of and makes one of them: those it replaces are withdrawn, oldest
first, then the new one is sent. Its first and last record are its start and end, so its key changes as it grows. The
accumulator is merged session by session, oldest first, and takes up the record's value last, as in Kafka Streams
(KStreamSessionWindowAggregate).

A session's entry is under (end, start, key), which is the order in which sessions close: what is to be sent or to be
forgotten is a range from the front. A key's sessions are found by a list of their starts and ends in the same store.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from ...state.cache import StateCache
from ...state.keys import window_key
from ..record import Record, Update, Windowed
from ..stores.entries import HEAD, Entry, Head
from ..time.windows import SessionWindows
from .window_operator import Send, WindowConfig, WindowOperator

__all__ = ["SessionFold"]

NEVER = 1 << 62
SEGMENT = 60_000


def pairs_of(head: Head | None) -> list[tuple[int, int]]:
    """Start and end of each session of a key, oldest first."""
    return [] if head is None else list(zip(head[::2], head[1::2], strict=True))


def joined(head: Head, key: Any, oldest: int, newest: int) -> tuple[tuple[int, int, Any], ...]:
    """Return the slots of a key's sessions that overlap [oldest, newest], oldest first.

    They end at `oldest` or later and start by `newest`.
    """
    return tuple((end, start, key) for start, end in pairs_of(head) if end >= oldest and start <= newest)


class SessionFold(WindowOperator[StateCache[Any, Any]]):
    """A fold per key and session. The fold must be one that can merge."""

    def __init__(self, config: WindowConfig, cache: StateCache[Any, Any], windows: SessionWindows) -> None:
        super().__init__(config, cache)
        self._windows = windows
        self._kept = windows.found if config.emit.on_update else windows.span
        self._segment = max(windows.span // 2, SEGMENT) if config.emit.drop_expired else NEVER
        """Kafka Streams deletes sessions, sent or not, once all that end in the same so many ms are left behind."""
        self._step = self._forget_step(self._kept)
        self._oldest = -1
        """No session in the store ends before this, but for those with results that wait."""

    def _fold(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        cache: Any = self._cache
        drops, config = self.drops, self._config
        touched, by_records = cache.dirty_add, not config.watermarked
        take, merge, adopts, shown_of = config.fold.take, config.fold.merge, config.fold.adopts, config.fold.shown
        assert merge is not None, "the wiring refuses folds without it"
        gap, span, findable = self._windows.gap, self._windows.span, self._windows.found
        kept, step = self._kept, self._step
        updates, on_update, overwrites = config.updates, self._emit.on_update, findable != span
        time = self.time
        for record in records:
            key = record.key
            if key is None:
                drops["null key"] += 1
                continue
            start = end = timestamp = record.timestamp
            place = (HEAD, key)
            head = cache[place]
            found: tuple[tuple[int, int, Any], ...] = ()
            if head is not None:
                oldest = timestamp - gap
                if oldest < time - findable:
                    oldest = time - findable
                if len(head) == 2:
                    first, last = head
                    if last >= oldest and first <= timestamp + gap:
                        found = ((last, first, key),)
                else:
                    found = joined(head, key, oldest, timestamp + gap)
                if found:
                    if found[0][1] < start:
                        start = found[0][1]
                    if found[-1][0] > end:
                        end = found[-1][0]
            if end < (max(time, timestamp)) - span:
                self.drop_late(record)
                continue
            entry: Entry | None = None
            if found:
                entry = cache[found[0]]
                if adopts or len(found) > 1:
                    entry = merge([cache[other] for other in found])
            made, shown = take(entry, record.value, end)
            slot = (end, start, key)
            held = slot in found or (
                # a session that is no longer found, though it is open, has the place of the new one
                overwrites and head is not None and not found and slot in joined(head, key, end, start)
            )
            before = cache[slot] if held else None
            if on_update:
                headers, offset = record.headers, record.offset
                if start != end:
                    for other in found:
                        gone = Update(shown_of(cache[other]), None) if updates else None
                        emit(Record(Windowed(key, other[1], other[0]), gone, other[0], headers, offset))
                    before = None
                if updates:
                    shown = Update(None if before is None else shown_of(before), shown)
                emit(Record(Windowed(key, start, end), shown, end, headers, offset))
            elif self._throttled is not None:
                for other in found:
                    if other != slot:
                        self.gone(other, cache[other], other[0])
                self.note(slot, before, end)
            for other in found:
                if other != slot:
                    cache[other] = None
                    touched(other)
            if held and made is not None:
                cache[slot] = made
                touched(slot)
            else:
                self._replace(place, head, (slot,) if held else found, slot, made)
            if by_records and timestamp > time:
                self.time = time = timestamp
            left_behind = time - kept
            if self._oldest < left_behind - left_behind % step:
                self._settle(record.offset, emit)

    def _replace(self, place: Any, head: Head | None, found: tuple[Any, ...], slot: Any, made: Entry | None) -> None:
        """Put a session, if it is one, in the place of others."""
        end, start, _ = slot
        if made is not None:
            self._cache.create(slot, made)
            if end < self._oldest:
                self._oldest = end
        elif slot in found:
            self._cache.delete(slot)
        pairs = [] if made is None else [(start, end)]
        if head is not None and len(head) > 2 * len(found):
            gone = {(other[1], other[0]) for other in found}
            pairs = sorted([*(pair for pair in pairs_of(head) if pair not in gone), *pairs])
        self._put_head(place, pairs)

    def _settle(self, offset: int, emit: Send) -> None:
        """Forget the sessions that stream time has left behind.

        If results are emitted on close, they are sent first.
        """
        left_behind = self._left_behind(self.time)
        deleted = left_behind - left_behind % self._segment
        for slot, entry in self._scan(self._oldest, None):
            if slot[0] >= left_behind:
                self._oldest = slot[0]
                return
            if self._emit.on_close:
                if slot[0] >= deleted:
                    emit(self._final(slot, entry, offset))
            elif self._waits(slot):
                continue
            self._forget(slot)
        self._oldest = NEVER

    def _move(self, before: int, offset: int, emit: Send) -> None:
        if self._oldest < self._left_behind(self.time):
            self._settle(offset, emit)

    def _closes_by(self, time: int) -> bool:
        left_behind = self._left_behind(time)
        return self._oldest < left_behind and next(self._scan(self._oldest, left_behind), None) is not None

    def _left_behind(self, time: int) -> int:
        """Return the end before which sessions are closed or forgotten at this time."""
        return self._in_steps(time - self._kept)

    def _scan(self, first: int, after: int | None) -> Iterator[tuple[Any, Any]]:
        """Return the sessions that end from `first` on and before `after`."""
        return self._cache.scan(window_key(max(first, 0), b""), None if after is None else window_key(after, b""))

    def _windowed(self, slot: Any) -> Any:
        end, start, key = slot
        return Windowed(key, start, end)

    def _forget(self, slot: Any) -> None:
        end, start, key = slot
        self._cache.delete(slot)
        self._put_head((HEAD, key), [pair for pair in pairs_of(self._cache[HEAD, key]) if pair != (start, end)])

    def _put_head(self, place: Any, pairs: list[tuple[int, int]]) -> None:
        self._cache.put(place, Head(chain.from_iterable(pairs)) if pairs else None)

    def _forget_sent(self, slot: Any) -> None:
        if slot[0] < self.time - self._kept and self._cache[slot] is not None:
            self._forget(slot)
