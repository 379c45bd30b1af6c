"""Timers of a `Processor`: durable, one of a name for each key, by event time or by the wall clock.

A timer is two entries of the store `<step>-timers`: one in the order in which timers are due, one by key and name, so
that it can be replaced or cancelled. Which is due first is remembered; all else is in the store.

    encoded key:  00 the clock   |   01 + due + key + name  by event time   |   02 the same by wall clock
                  03 + key + name  when it is due   |   04 + name  when a method of `every` is due next
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from ...state.cache import Codec
from ...state.keys import pack, unpack
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..stores.expiring import CLOCK, Cache, Journal
from ..time.durations import Duration, parse_duration
from ..time.event_time import LATEST, milliseconds
from .schedule import Recurring

__all__ = ["EVENT", "NEVER", "WALL", "Timer", "Timers", "timers_codec", "timers_view"]

EVENT, WALL, NAMED, RECURRING = 1, 2, 3, 4
KINDS: Final[dict[str, int]] = {"event": EVENT, "wall": WALL}
NEVER: Final = 1 << 62


class Timer(msgspec.Struct, frozen=True):
    """A timer, in the order in which timers are due."""

    kind: int
    due: int
    key: Any
    name: str


class Named(msgspec.Struct, frozen=True):
    """A timer by its key and name."""

    key: Any
    name: str


class Timers:
    """The timers of one task."""

    def __init__(self, cache: Cache, journal: Journal) -> None:
        self._cache = cache
        self._journal = journal
        self._next = {EVENT: -1, WALL: -1}  # no timer is due before this
        self._lengths: dict[str, int] = {}
        self.firing: Timer | None = None

    def set(
        self, key: Any, name: str, begin: int, after: Duration | None, at: int | datetime | None, clock: str
    ) -> None:
        """Sets a timer, in place of the one of this name that the key has."""
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
        self._journal.write(self._cache, timer, True)
        self._journal.write(self._cache, Named(key, name), [kind, due])
        self._next[kind] = min(self._next[kind], due)

    def cancel(self, key: Any, name: str) -> None:
        """Removes a timer, if there is one of this name."""
        known = self._cache[Named(key, name)]
        if known is not None:
            kind, due = known
            self.remove(Timer(kind, due, key, name))

    def remove(self, timer: Timer) -> None:
        """Removes a timer that there is."""
        self._journal.write(self._cache, timer, None)
        self._journal.write(self._cache, Named(timer.key, timer.name), None)

    def first(self, kind: int, until: int) -> Timer | None:
        """The timer that is due first, if it is due by this time."""
        following = self._next[kind]
        if following > until:
            return None
        first = next((timer for timer, _ in self._cache.scan(bytes((kind,)), bytes((kind + 1,)))), None)
        self._next[kind] = NEVER if first is None else first.due
        return first if first is not None and first.due <= until else None

    def _length(self, after: Duration) -> int:
        if not isinstance(after, str):
            return parse_duration(after, "after")  # True is no duration, and equal to one
        known = self._lengths.get(after)
        if known is None:
            known = self._lengths[after] = parse_duration(after, "after")
        return known


def timers_codec(key: Serde[Any]) -> Codec[Any, Any]:
    """How timers are stored."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: Any) -> bytes:
        if slot is CLOCK:
            return b"\x00"
        if slot.__class__ is Named:
            return bytes((NAMED,)) + pack(encode(slot.key), slot.name.encode())
        if slot.__class__ is Recurring:
            return bytes((RECURRING,)) + slot.name.encode()
        return bytes((slot.kind,)) + pack(slot.due, encode(slot.key), slot.name.encode())

    def decode_key(data: bytes) -> Any:
        kind = data[0]
        if kind == 0:
            return CLOCK
        if kind == RECURRING:
            return Recurring(data[1:].decode())
        if kind == NAMED:
            outer, name = unpack(data[1:], bytes, bytes)
            return Named(decode(outer), name.decode())
        due, outer, name = unpack(data[1:], int, bytes, bytes)
        return Timer(kind, due, decode(outer), name.decode())

    return Codec(encode_key, decode_key, auto.encode, auto.decode, is_exact(key))


def timers_view() -> StoreView:
    """People see when the timer of a key and name is due, and by which clock."""
    words = {number: word for word, number in KINDS.items()}
    return StoreView(
        to_key=lambda pair: Named(*pair),
        from_key=lambda slot: (slot.key, slot.name),
        from_value=lambda entry: (words[entry[0]], entry[1]),
        visible=lambda slot: slot.__class__ is Named,
    )
