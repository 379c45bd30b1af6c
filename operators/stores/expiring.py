"""What lies under the states of a `Processor`: entries that may expire, writes that can be taken back.

A value with a time to live is kept with the time until which it lives; from then on it is not seen. A call goes by
stream time, or by its own time where that is newer; a timer by the time at which it was due. The value is deleted
later, when stream time passes the next multiple of an eighth of that life: an index in the same store, in the order of
these times, says which entries may be due, so nothing else is looked at.

    encoded key:   00 the clock   |   01 + slot  an entry   |   02 + time + slot  the index
                   00 01 the newest time put into a window state
    encoded value: 00 + value     |   01 + time until which it lives + value
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..serdes.auto import auto

__all__ = [
    "CLOCK",
    "NEWEST",
    "NO_KEY",
    "TOLD",
    "AtHand",
    "Cache",
    "Journal",
    "Shelf",
    "kept_value",
    "slot_codec",
    "visible",
]

Cache: TypeAlias = StateCache[Any, Any]

CLOCK_KEY, NEWEST_KEY, ENTRY, INDEX = b"\x00", b"\x00\x01", b"\x01", b"\x02"
GRAINS = 8

_UNTIL = Struct(">q")


class Word:
    """A cache key that is equal to no key of a user's."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return self._word


CLOCK: Final = Word("CLOCK")
"""Under this a step keeps its stream time."""
NEWEST: Final = Word("NEWEST")
"""Under this a window state keeps the newest time that was put into it."""
TOLD: Final = Word("TOLD")
"""Under this versions keep the time that a watermark tells."""
NO_KEY: Final = Word("NO_KEY")
"""In place of the key at hand where there is none."""


class Kept(msgspec.Struct, frozen=True, gc=False):
    """A value that lives until a stream time."""

    until: int
    value: Any


class Due(msgspec.Struct, frozen=True):
    """An entry of the index: the slot may be expired at this stream time."""

    at: int
    slot: Any


class Journal:
    """What was there before the record at hand, so that it can be as if the record had never come."""

    def __init__(self) -> None:
        self.notes: list[tuple[Cache, Any, Any]] = []

    def write(self, cache: Cache, key: Any, entry: Any) -> None:
        """Writes an entry; None deletes."""
        self.notes.append((cache, key, cache[key]))
        cache.put(key, entry)

    def undo(self) -> None:
        """Takes back all writes since the notes were cleared."""
        for cache, key, before in reversed(self.notes):
            cache.put(key, before)
        self.notes.clear()


class AtHand(Protocol):
    """What tells the key at hand, and the time by which values expire."""

    key: Any

    @property
    def state_time(self) -> int: ...


class Shelf:
    """One store of a processor."""

    def __init__(
        self,
        cache: Cache,
        journal: Journal,
        at_hand: AtHand,
        encode_key: Callable[[Any], bytes],
        ttl: int | None,
        drops: dict[str, int],
    ) -> None:
        self.cache = cache
        self._journal = journal
        self.at_hand = at_hand
        self.encode_key = encode_key
        self.drops = drops
        """Counts what is dropped, by reason."""
        self._ttl = ttl
        self._grain = max(1, (ttl or 0) // GRAINS)
        self._next_sweep = -1

    def by(self, at_hand: AtHand) -> Shelf:
        """The same entries, by another idea of what time it is."""
        return Shelf(self.cache, self._journal, at_hand, self.encode_key, self._ttl, self.drops)

    def read(self, slot: Any) -> Any:
        """The value in a slot; None when there is none, or none any more."""
        return self._alive(self.cache[slot])

    def write(self, slot: Any, value: Any, *, behind: Any = None) -> None:
        """Puts a value into a slot, to live as long at least as that in the slot it is `behind`; None empties it."""
        if self._ttl is None or value is None:
            self._journal.write(self.cache, slot, value)
            return
        until = self.at_hand.state_time + self._ttl
        before = None if behind is None else self.cache[behind]
        self.write_until(slot, value, max(until, before.until) if isinstance(before, Kept) else until)

    def write_until(self, slot: Any, value: Any, until: int) -> None:
        """Puts a value into a slot until a stream time."""
        before = self.cache[slot]
        due = self._due(until)
        self._journal.write(self.cache, slot, Kept(until, value))
        if not isinstance(before, Kept) or self._due(before.until) != due:
            self._journal.write(self.cache, Due(due, slot), True)

    def write_plain(self, slot: Any, value: Any) -> None:
        """The same for a value that never expires."""
        self._journal.write(self.cache, slot, value)

    def slots(self, lo: bytes, hi: bytes | None) -> Iterator[Any]:
        """The slots with encoded keys from `lo` on and before `hi` that have a value."""
        return (slot for slot, _ in self.entries(lo, hi))

    def entries(self, lo: bytes = b"", hi: bytes | None = None) -> Iterator[tuple[Any, Any]]:
        """The same with the values. What is written meanwhile may or may not be among them."""
        for slot, entry in self.cache.scan(ENTRY + lo, INDEX if hi is None else ENTRY + hi):
            value = self._alive(entry)
            if value is not None:
                yield slot, value

    def sweep(self, time: int) -> list[Any]:
        """Deletes what has expired by this stream time; gives the slots, those that were written first first."""
        if self._ttl is None or time < self._next_sweep:
            return []
        self._next_sweep = (time // self._grain + 1) * self._grain
        return self.delete_expired(time)

    def expires_by(self, time: int) -> bool:
        """Whether the index has anything that may expire by this time."""
        return next(self.cache.scan(INDEX, INDEX + pack(time + 1)), None) is not None

    def sweep_between(self, before: int, time: int) -> None:
        """The same, remembering nothing: time has moved from `before`."""
        if before // self._grain != time // self._grain:
            self.delete_expired(time)

    def delete_expired(self, time: int) -> list[Any]:
        """Deletes what the index says may have expired and has."""
        expired: list[Any] = []
        for due, _ in list(self.cache.scan(INDEX, INDEX + pack(time + 1))):
            entry = self.cache[due.slot]
            if isinstance(entry, Kept) and entry.until <= time:
                self._journal.write(self.cache, due.slot, None)
                expired.append(due.slot)
            self._journal.write(self.cache, due, None)
        return expired

    def _due(self, until: int) -> int:
        return -(-until // self._grain) * self._grain

    def _alive(self, entry: Any) -> Any:
        if entry.__class__ is not Kept:
            return entry
        return entry.value if self._ttl is None or entry.until > self.at_hand.state_time else None


def visible(slot: Any) -> bool:
    """True for the entries of a store that are people's own."""
    return slot.__class__ is not Word and slot.__class__ is not Due


def kept_value(entry: Any) -> Any:
    """The value of an entry, whether it expires or not."""
    return entry.value if entry.__class__ is Kept else entry


def slot_codec(encode: Callable[[Any], bytes], decode: Callable[[bytes], Any], *, exact: bool) -> Codec[Any, Any]:
    """A codec for a store with these slots; `exact` as in `Codec`."""

    def encode_key(key: Any) -> bytes:
        if key.__class__ is Word:
            return CLOCK_KEY if key is CLOCK else NEWEST_KEY
        if key.__class__ is Due:
            return INDEX + pack(key.at, encode(key.slot))
        return ENTRY + encode(key)

    def decode_key(data: bytes) -> Any:
        kind = data[:1]
        if kind == ENTRY:
            return decode(data[1:])
        if kind == CLOCK_KEY:
            return CLOCK if data == CLOCK_KEY else NEWEST
        at, slot = unpack(data[1:], int, bytes)
        return Due(at, decode(slot))

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is Kept:
            return b"\x01" + _UNTIL.pack(entry.until) + auto.encode(entry.value)
        return b"\x00" + auto.encode(entry)

    def decode_value(data: bytes) -> Any:
        if data[:1] == b"\x00":
            return auto.decode(data[1:])
        return Kept(_UNTIL.unpack_from(data, 1)[0], auto.decode(data[9:]))

    return Codec(encode_key, decode_key, encode_value, decode_value, exact)
