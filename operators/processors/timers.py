"""Durable timers of a `Processor`: one per key and name, by event time or by the wall clock.

A timer has two entries in the store `<step>-timers`: one in the order of due times, and one by key and name, so that it
can be replaced or cancelled. Only the earliest due time of each clock is kept in memory.

    encoded key:  00 stream time   |   01 + due + key + name  by event time   |   02 the same by wall clock
                  03 + key + name  the due time   |   04 + name  the next due time of a method with `every`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from ...state.cache import Codec
from ...state.keys import pack, unpack
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..stores.expiring import STREAM_TIME, Cache, UndoLog
from ..stores.placements import placed
from ..time.durations import Duration, parse_duration
from ..time.event_time import LATEST, milliseconds
from .schedule import Recurring

__all__ = ["EVENT", "NEVER", "WALL", "Timer", "Timers", "timers_codec", "timers_view"]

EVENT, WALL, NAMED, RECURRING = 1, 2, 3, 4
KINDS: Final[dict[str, int]] = {"event": EVENT, "wall": WALL}
NEVER: Final = 1 << 62


class Timer(msgspec.Struct, frozen=True):
    """The cache key of a timer, in the order of due times."""

    kind: int
    due: int
    key: Any
    name: str


class TimerKey(msgspec.Struct, frozen=True):
    """The cache key of a timer by its key and name."""

    key: Any
    name: str


class Timers:
    """The timers of one task."""

    def __init__(self, cache: Cache, undo_log: UndoLog) -> None:
        self._cache = cache
        self._undo_log = undo_log
        self._next = {EVENT: -1, WALL: -1}  # by clock: no timer is due before this time
        self._lengths: dict[str, int] = {}
        self.firing: Timer | None = None

    def set(
        self, key: Any, name: str, begin: int, after: Duration | None, at: int | datetime | None, clock: str
    ) -> None:
        """Set a timer, replacing the key's timer of this name."""
        kind = KINDS.get(clock)
        if kind is None:
            raise ValueError(f"the clock of a timer is 'event' or 'wall', not {clock!r}")
        if (after is None) == (at is None):
            raise TypeError("a timer takes either after= or at=")
        due = begin + self._length(after) if after is not None else milliseconds(at)
        if due > LATEST:
            raise ValueError(f"timer {name!r} would be due at {due}, beyond the year 9999: it would never fire")
        firing = self.firing
        if firing is not None and firing.kind == kind and due <= firing.due:
            raise ValueError(
                f"timer {name!r} would be due at {due}, while timer {firing.name!r} of {firing.due} fires: what a "
                "timer sets must be due later"
            )
        self.cancel(key, name)
        timer = Timer(kind, due, key, name)
        self._undo_log.write(self._cache, timer, True)
        self._undo_log.write(self._cache, TimerKey(key, name), [kind, due])
        self._next[kind] = min(self._next[kind], due)

    def cancel(self, key: Any, name: str) -> None:
        """Remove the key's timer of this name, if it is set."""
        known = self._cache[TimerKey(key, name)]
        if known is not None:
            kind, due = known
            self.remove(Timer(kind, due, key, name))

    def remove(self, timer: Timer) -> None:
        """Remove a timer that is set."""
        self._undo_log.write(self._cache, timer, None)
        self._undo_log.write(self._cache, TimerKey(timer.key, timer.name), None)

    def first(self, kind: int, until: int) -> Timer | None:
        """Return the timer with the earliest due time if it is due by `until`, else None."""
        following = self._next[kind]
        if following > until:
            return None
        first = next((timer for timer, _ in self._cache.scan(bytes((kind,)), bytes((kind + 1,)))), None)
        self._next[kind] = NEVER if first is None else first.due
        return first if first is not None and first.due <= until else None

    def _length(self, after: Duration) -> int:
        if not isinstance(after, str):
            return parse_duration(after, "after")  # not cached: True is no duration, but equals 1
        known = self._lengths.get(after)
        if known is None:
            known = self._lengths[after] = parse_duration(after, "after")
        return known


def timers_codec(key: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of timers."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: Any) -> bytes:
        if slot is STREAM_TIME:
            return b"\x00"
        if slot.__class__ is TimerKey:
            return bytes((NAMED,)) + pack(encode(slot.key), slot.name.encode())
        if slot.__class__ is Recurring:
            return bytes((RECURRING,)) + slot.name.encode()
        return bytes((slot.kind,)) + pack(slot.due, encode(slot.key), slot.name.encode())

    def decode_key(data: bytes) -> Any:
        kind = data[0]
        if kind == 0:
            return STREAM_TIME
        if kind == RECURRING:
            return Recurring(data[1:].decode())
        if kind == NAMED:
            outer, name = unpack(data[1:], bytes, bytes)
            return TimerKey(decode(outer), name.decode())
        due, outer, name = unpack(data[1:], int, bytes, bytes)
        return Timer(kind, due, decode(outer), name.decode())

    def key_of(data: bytes) -> bytes | None:
        kind = data[0]
        if kind in (0, RECURRING):
            return None
        return unpack(data[1:], bytes, bytes)[0] if kind == NAMED else unpack(data[1:], int, bytes, bytes)[1]

    placement = placed(key, key_of, merged_times)
    return Codec(encode_key, decode_key, auto.encode, auto.decode, is_exact(key), placement=placement)


def merged_times(slot: Any, entries: Sequence[int]) -> int:
    """Return the stream time, or due time of a method, of a task that takes over from several."""
    return min(entries) if slot.__class__ is Recurring else max(entries)


def timers_view() -> StoreView:
    """Return the view for queries: due time and clock of a timer, by (key, name)."""
    words = {number: word for word, number in KINDS.items()}

    def rows(slot: Any, entry: Any) -> Iterator[StoreRow]:
        if slot.__class__ is TimerKey:
            yield StoreRow(slot.key, columns={"name": slot.name, "clock": words[entry[0]], "due": entry[1]})
        elif slot.__class__ is Recurring:
            yield StoreRow(None, columns={"name": slot.name, "due": entry})

    return StoreView(
        to_key=lambda pair: TimerKey(*pair),
        from_key=lambda slot: (slot.key, slot.name),
        from_value=lambda entry: (words[entry[0]], entry[1]),
        visible=lambda slot: slot.__class__ is TimerKey,
        rows=rows,
    )
