"""The stores of a `Processor`: entries that may expire, and writes that can be undone.

A value with a time to live is stored with its expiry time, from which on it is not returned. Calls compare that with
stream time, or with the record's own time if that is later; timers with their due time. The value is deleted later,
when stream time passes the next multiple of an eighth of the time to live: an index in the same store, ordered by these
times, lists the entries that may have expired, so no other entries are read.

    encoded key:   00 stream time   |   01 + slot  an entry   |   02 + time + slot  the index
                   00 01 the newest time put into a window state
    encoded value: 00 + value       |   01 + expiry time + value
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from struct import Struct
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..graph.store_loading import NOT_LOADED, Loading, Look
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..serdes.from_plain import known
from .placements import placed

__all__ = [
    "NEWEST_TIME",
    "NO_KEY",
    "STREAM_TIME",
    "WATERMARK",
    "Cache",
    "CurrentKey",
    "ExpiringStore",
    "UndoLog",
    "expiring_loading",
    "expiring_view",
    "kept_value",
    "numbered_slot_codec",
    "slot_codec",
    "visible",
]

Cache: TypeAlias = StateCache[Any, Any]

CLOCK_KEY, NEWEST_KEY, ENTRY, INDEX = b"\x00", b"\x00\x01", b"\x01", b"\x02"
GRAINS = 8

_UNTIL = Struct(">q")


class ReservedKey:
    """A cache key that is equal to no key of a record."""

    def __init__(self, word: str) -> None:
        self._word = word

    def __repr__(self) -> str:
        return self._word


STREAM_TIME: Final = ReservedKey("CLOCK")
"""The key of the step's stream time."""
NEWEST_TIME: Final = ReservedKey("NEWEST")
"""The key of the newest time put into a window state."""
WATERMARK: Final = ReservedKey("WATERMARK")
"""The key of the watermark, in a versioned store."""
NO_KEY: Final = ReservedKey("NO_KEY")
"""The current key if there is none."""


class ExpiringValue(msgspec.Struct, frozen=True, gc=False):
    """A value that expires at a stream time."""

    until: int
    value: Any


class ExpiryEntry(msgspec.Struct, frozen=True):
    """An index entry: the slot may have expired at this stream time."""

    at: int
    slot: Any


class UndoLog:
    """The previous values of all writes of the current call, to undo them if it fails."""

    def __init__(self) -> None:
        self.notes: list[tuple[Cache, Any, Any]] = []

    def write(self, cache: Cache, key: Any, entry: Any) -> None:
        """Write an entry; None deletes it."""
        self.notes.append((cache, key, cache[key]))
        cache.put(key, entry)

    def undo(self) -> None:
        """Undo all writes since the notes were cleared."""
        for cache, key, before in reversed(self.notes):
            cache.put(key, before)
        self.notes.clear()


class CurrentKey(Protocol):
    """The current key, and the time by which values expire."""

    key: Any

    @property
    def state_time(self) -> int: ...


class ExpiringStore:
    """A store of a processor."""

    def __init__(
        self,
        cache: Cache,
        undo_log: UndoLog,
        current: CurrentKey,
        encode_key: Callable[[Any], bytes],
        ttl: int | None,
        drops: dict[str, int],
    ) -> None:
        self.cache = cache
        self._undo_log = undo_log
        self.current = current
        self.encode_key = encode_key
        self.drops = drops
        """The number of dropped values, by reason."""
        self._ttl = ttl
        self._grain = max(1, (ttl or 0) // GRAINS)
        self._next_expiry = -1

    def by(self, current: CurrentKey) -> ExpiringStore:
        """Return a store of the same entries with another current key and time."""
        return ExpiringStore(self.cache, self._undo_log, current, self.encode_key, self._ttl, self.drops)

    def read(self, slot: Any) -> Any:
        """Return the value in a slot; None if there is none or it has expired."""
        return self._alive(self.cache[slot])

    def write(self, slot: Any, value: Any, *, behind: Any = None) -> None:
        """Write a value, which expires no earlier than that in the slot `behind`; None deletes it."""
        if self._ttl is None or value is None:
            self._undo_log.write(self.cache, slot, value)
            return
        until = self.current.state_time + self._ttl
        before = None if behind is None else self.cache[behind]
        self.write_until(slot, value, max(until, before.until) if isinstance(before, ExpiringValue) else until)

    def write_until(self, slot: Any, value: Any, until: int) -> None:
        """Write a value that expires at a stream time."""
        before = self.cache[slot]
        due = self._due(until)
        self._undo_log.write(self.cache, slot, ExpiringValue(until, value))
        if not isinstance(before, ExpiringValue) or self._due(before.until) != due:
            self._undo_log.write(self.cache, ExpiryEntry(due, slot), True)

    def write_plain(self, slot: Any, value: Any) -> None:
        """Write a value that never expires."""
        self._undo_log.write(self.cache, slot, value)

    def slots(self, lo: bytes, hi: bytes | None) -> Iterator[Any]:
        """Return the slots that have a value, with encoded keys in [lo, hi)."""
        return (slot for slot, _ in self.entries(lo, hi))

    def entries(self, lo: bytes = b"", hi: bytes | None = None) -> Iterator[tuple[Any, Any]]:
        """Yield the slots with their values; concurrent writes may or may not be included."""
        for slot, entry in self.cache.scan(ENTRY + lo, INDEX if hi is None else ENTRY + hi):
            value = self._alive(entry)
            if value is not None:
                yield slot, value

    def expire(self, time: int) -> list[Any]:
        """Delete what has expired by this stream time; return the deleted slots, oldest write first."""
        if self._ttl is None or time < self._next_expiry:
            return []
        self._next_expiry = (time // self._grain + 1) * self._grain
        return self.delete_expired(time)

    def expires_by(self, time: int) -> bool:
        """Return whether the index has an entry that may have expired by this time."""
        return next(self.cache.scan(INDEX, INDEX + pack(time + 1)), None) is not None

    def expire_between(self, before: int, time: int) -> None:
        """Delete what has expired, given that time has moved from `before`; keep no next expiry."""
        if before // self._grain != time // self._grain:
            self.delete_expired(time)

    def delete_expired(self, time: int) -> list[Any]:
        """Delete the expired entries that the index lists up to this time."""
        expired: list[Any] = []
        for due, _ in list(self.cache.scan(INDEX, INDEX + pack(time + 1))):
            entry = self.cache[due.slot]
            if isinstance(entry, ExpiringValue) and entry.until <= time:
                self._undo_log.write(self.cache, due.slot, None)
                expired.append(due.slot)
            self._undo_log.write(self.cache, due, None)
        return expired

    def _due(self, until: int) -> int:
        return -(-until // self._grain) * self._grain

    def _alive(self, entry: Any) -> Any:
        if entry.__class__ is not ExpiringValue:
            return entry
        return entry.value if self._ttl is None or entry.until > self.current.state_time else None


def visible(slot: Any) -> bool:
    """Return whether a slot is an entry of the user's, not bookkeeping."""
    return slot.__class__ is not ReservedKey and slot.__class__ is not ExpiryEntry


def kept_value(entry: Any) -> Any:
    """Return the value of an entry, whether it expires or not."""
    return entry.value if entry.__class__ is ExpiringValue else entry


def expiring_view(
    columns: Callable[[Any], tuple[Any, Mapping[str, Any]]] = lambda slot: (slot, {}),
    shown: Callable[[Any], bool] = lambda slot: True,
    loading: Loading | str = NOT_LOADED,
) -> StoreView:
    """Return the view of a store: values by slot.

    `columns` returns the key of a slot and the other columns of a dump; of these, "timestamp" is the event time.
    `shown` returns False for slots that hold no value of the user's.
    """

    def rows(slot: Any, entry: Any) -> Iterator[StoreRow]:
        if visible(slot) and shown(slot):
            key, others = columns(slot)
            named = {name: part for name, part in others.items() if name != "timestamp"}
            if entry.__class__ is ExpiringValue:
                named["expires"] = entry.until
            yield StoreRow(key, kept_value(entry), others.get("timestamp"), named)

    return StoreView(
        from_value=kept_value, visible=lambda slot: visible(slot) and shown(slot), rows=rows, loading=loading
    )


def expiring_loading(
    key: Callable[[Any], bytes], slot: Callable[[StoreRow], Any], value: Callable[[Any], Any], ttl: int | None
) -> Loading:
    """Return the loading of values by slot.

    `key` returns the bytes of a slot's key, `slot` makes the slot of a row, `value` its value.
    """
    grain = max(1, (ttl or 0) // GRAINS)

    def entry(row: StoreRow) -> tuple[Any, Any]:
        if row.value is msgspec.UNSET or row.value is None:
            raise ValueError("it has no value")
        if ttl is None:
            return slot(row), value(row.value)
        until = known(row.columns.get("expires"))
        if not isinstance(until, int) or until < 0:
            raise ValueError(f"expires is {until!r}: the state has a ttl, so it is a time in ms since 1970")
        return slot(row), ExpiringValue(until, value(row.value))

    def books(look: Look, made: Any, value: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(value, ExpiringValue):
            yield ExpiryEntry(-(-value.until // grain) * grain, made), True

    return Loading(entry, key, books)


def slot_codec(
    key: Serde[Any],
    encode: Callable[[Any], bytes],
    decode: Callable[[bytes], Any],
    key_in: Callable[[bytes], bytes] = lambda slot: slot,
    *,
    exact: bool,
) -> Codec[Any, Any]:
    """Return the codec of a store with these slots; `exact` as in `Codec`.

    `key_in` returns the key in an encoded slot, by the serde `key`.
    """

    def encode_key(key: Any) -> bytes:
        if key.__class__ is ReservedKey:
            return CLOCK_KEY if key is STREAM_TIME else NEWEST_KEY
        if key.__class__ is ExpiryEntry:
            return INDEX + pack(key.at, encode(key.slot))
        return ENTRY + encode(key)

    def decode_key(data: bytes) -> Any:
        kind = data[:1]
        if kind == ENTRY:
            return decode(data[1:])
        if kind == CLOCK_KEY:
            return STREAM_TIME if data == CLOCK_KEY else NEWEST_TIME
        at, slot = unpack(data[1:], int, bytes)
        return ExpiryEntry(at, decode(slot))

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is ExpiringValue:
            return b"\x01" + _UNTIL.pack(entry.until) + auto.encode(entry.value)
        return b"\x00" + auto.encode(entry)

    def decode_value(data: bytes) -> Any:
        if data[:1] == b"\x00":
            return auto.decode(data[1:])
        return ExpiringValue(_UNTIL.unpack_from(data, 1)[0], auto.decode(data[9:]))

    def key_of(data: bytes) -> bytes | None:
        kind = data[:1]
        if kind == ENTRY:
            return key_in(data[1:])
        return key_in(unpack(data[1:], int, bytes)[1]) if kind == INDEX else None

    return Codec(encode_key, decode_key, encode_value, decode_value, exact, placement=placed(key, key_of))


def numbered_slot_codec(key: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of a store whose slots are pairs of a key and a whole number."""
    encode, decode = key.encode, key.decode

    def decode_slot(data: bytes) -> Any:
        outer, number = unpack(data, bytes, int)
        return decode(outer), number

    def key_in(slot: bytes) -> bytes:
        return unpack(slot, bytes, int)[0]

    return slot_codec(key, lambda slot: pack(encode(slot[0]), slot[1]), decode_slot, key_in, exact=is_exact(key))
