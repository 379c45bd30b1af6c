"""Folds in sessions: records of a key of which each follows another within the gap.

A record joins the sessions that it is within the gap of and makes one of them: those it replaces are withdrawn, oldest
first, then the new one is sent. Its first and last record are its start and end, so its key changes as it grows. The
accumulator is merged session by session, oldest first, and takes up the record's value last, as in Kafka Streams
(KStreamSessionWindowAggregate).

A session's entry is under (end, start, key), which is the order in which sessions close: what is to be sent or to be
forgotten is a range from the front. A key's sessions are found by a list of their starts and ends in the same store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

from ...state.cache import StateCache
from ...state.keys import window_key
from ..aggregates.fold import Fold, Loop
from ..record import Record, Windowed
from ..stores.entries import HEAD, Entry, Head
from ..time.windows import Emit, SessionWindows
from .windowing import Making, Windowing, moves

__all__ = ["SessionFold", "session_loop"]

NEVER = 1 << 62
SEGMENT = 60_000

LOOP = """\
def loop(step, records, cache, drops, emit):
    touched = cache.dirty_add
    time = step.time
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        start = end = timestamp = record.timestamp
        place = (HEAD, key)
        head = cache[place]
        found = ()
        if head is not None:
            oldest = timestamp - {gap}
            if oldest < time - {found}:
                oldest = time - {found}
            if len(head) == 2:
                first, last = head
                if last >= oldest and first <= timestamp + {gap}:
                    found = ((last, first, key),)
            else:
                found = joined(head, key, oldest, timestamp + {gap})
            if found:
                if found[0][1] < start:
                    start = found[0][1]
                if found[-1][0] > end:
                    end = found[-1][0]
        if end < (timestamp if timestamp > time else time) - {span}:
            drops["late"] += 1{late}
            step.lateness = max(step.lateness, time - timestamp)
            continue
        value = record.value
        if found:
            entry = cache[found[0]]
            <load>
            <adopt>
            for other in found[1:]:
                other = cache[other]
                <merge>
        else:
            <start>
        <update>
        newest = end
        made = <entry>
        slot = (end, start, key)
        held = slot in found{overwritten}
        before = cache[slot] if held else None
        {send}
        for other in found:
            if other != slot:
                cache[other] = None
                touched(other)
        if held and made is not None:
            cache[slot] = made
            touched(slot)
        else:
            step.replace(place, head, (slot,) if held else found, slot, made)
        if {moves}:
            step.time = time = timestamp
        if step.oldest < time - {kept}:
            step.settle(record.offset, emit)
"""

UPDATE = """\
if start != end:
            for other in found:
                emit(Record(Windowed(key, other[1], other[0]), {withdrawn}, other[0], record.headers, record.offset))
            before = None
        <show>
        emit(Record(Windowed(key, start, end), shown, newest, record.headers, record.offset))"""

OVERWRITTEN = " or (head is not None and not found and slot in joined(head, key, end, start))"
"""A session that is no longer found, though it is open, has the place of the new one."""

NOTE = """\
for other in found:
            if other != slot:
                step.gone(other, cache[other], other[0])
        step.note(slot, before, newest)"""


def session_loop(
    fold: Fold, windows: SessionWindows, emit: Emit, *, updates: bool, late: bool, watermarked: bool
) -> Loop:
    """The loop of a fold a key and session; the fold must be one that can merge."""
    withdrawn = "Update(row_of(cache[other]), None)" if updates else "None"
    send = "pass" if emit.on_close else NOTE if emit.every is not None else UPDATE.format(withdrawn=withdrawn)
    template = LOOP.format(
        gap=windows.gap,
        span=windows.span,
        found=windows.found,
        kept=windows.found if emit.on_update else windows.span,
        overwritten="" if windows.found == windows.span else OVERWRITTEN,
        moves=moves(watermarked),
        late="; step.late(record)" if late else "",
        send=send,
    )
    return fold.loop(
        "session aggregate",
        template,
        show=emit.on_update,
        updates=updates,
        HEAD=HEAD,
        Record=Record,
        Windowed=Windowed,
        joined=joined,
    )


def pairs_of(head: Head | None) -> list[tuple[int, int]]:
    """Start and end of each session of a key, oldest first."""
    return [] if head is None else list(zip(head[::2], head[1::2], strict=True))


def joined(head: Head, key: Any, oldest: int, newest: int) -> tuple[tuple[int, int, Any], ...]:
    """The slots of a key's sessions that end at `oldest` or later and start by `newest`, oldest first."""
    return tuple((end, start, key) for start, end in pairs_of(head) if end >= oldest and start <= newest)


class SessionFold(Windowing):
    """A fold a key and session."""

    def __init__(self, making: Making, cache: StateCache[Any, Any], windows: SessionWindows) -> None:
        super().__init__(making, cache)
        self._kept = windows.found if making.emit.on_update else windows.span
        self._segment = max(windows.span // 2, SEGMENT) if making.emit.drop_expired else NEVER
        """Kafka Streams deletes sessions, sent or not, once all that end in the same so many ms are left behind."""
        self.oldest = -1
        """No session in the store ends before this, but for those with results that wait."""

    def replace(self, place: Any, head: Head | None, found: tuple[Any, ...], slot: Any, made: Entry | None) -> None:
        """Puts a session, if it is one, in the place of others."""
        end, start, _ = slot
        if made is not None:
            self._cache.create(slot, made)
            if end < self.oldest:
                self.oldest = end
        elif slot in found:
            self._cache.delete(slot)
        pairs = [] if made is None else [(start, end)]
        if head is not None and len(head) > 2 * len(found):
            gone = {(other[1], other[0]) for other in found}
            pairs = sorted([*(pair for pair in pairs_of(head) if pair not in gone), *pairs])
        self._put_head(place, pairs)

    def settle(self, offset: int, emit: Callable[[Any], None]) -> None:
        """Sends, on closing, and forgets the sessions that stream time has left behind."""
        left_behind = self.time - self._kept
        deleted = left_behind - left_behind % self._segment
        for slot, entry in self._scan(self.oldest, None):
            if slot[0] >= left_behind:
                self.oldest = slot[0]
                return
            if self._emit.on_close:
                if slot[0] >= deleted:
                    emit(self._final(slot, entry, offset))
            elif self._waits(slot):
                continue
            self._forget(slot)
        self.oldest = NEVER

    def _move(self, before: int, offset: int, emit: Callable[[Any], None]) -> None:
        if self.oldest < self.time - self._kept:
            self.settle(offset, emit)

    def _closes_by(self, time: int) -> bool:
        return self.oldest < time - self._kept and next(self._scan(self.oldest, time - self._kept), None) is not None

    def _scan(self, first: int, after: int | None) -> Iterator[tuple[Any, Any]]:
        """The sessions that end from `first` on and before `after`."""
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
