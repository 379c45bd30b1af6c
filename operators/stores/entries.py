"""How keyed steps keep state and its event time under a key, and how people see that.

An entry is `(timestamp, *slots)`, the slots being the fold's. Steps with windows keep books beside them, under keys
that sort before all windows: the clock, which is the step's stream time, and others of the kind. Encoded, an entry is 8
bytes of timestamp and the slots; a time alone, as the clock is, is that time complemented; the list of what a key has,
a head, begins with the least number of 8 bytes.

    (CLOCK)  (DUE)  (WAIT, slot)  (NEWEST)  (HEAD, key)   |   (start, key), or (end, start, key) of a session
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from struct import Struct, pack, unpack_from
from typing import Any, Final

from ...state.cache import Codec
from ...state.keys import split_window_key, window_key
from ...state.store import frame
from ..errors import TopologyError
from ..graph.topology import StoreView
from ..record import Windowed
from ..serdes.base import Serde, is_exact

__all__ = [
    "CLOCK",
    "DUE",
    "HEAD",
    "Head",
    "NEWEST",
    "WAIT",
    "Entry",
    "clock_of",
    "guarded",
    "keyed_codec",
    "keyed_view",
    "serde_entry",
    "session_codec",
    "session_view",
    "stream_clock",
    "stored_entry",
    "windowed_codec",
    "windowed_view",
]

Entry = tuple[Any, ...]
Keep = Callable[[Entry], bytes]
Restore = Callable[[bytes], Entry]

FIRST: Final = -(1 << 62)
CLOCK: Final = (FIRST, None)
"""The key of the clock in the cache of a windowed step."""
DUE: Final = (FIRST + 1, None)
"""When the results that wait are to be sent, by the wall clock."""
WAIT: Final = FIRST + 2
"""`(WAIT, slot)` is the key of a result that waits."""
NEWEST: Final = (FIRST + 3, None)
"""The newest start of a sliding window."""
HEAD: Final = FIRST + 4
"""`(HEAD, key)` is the key of the list of what a key has."""
CLOCKS: Final = FIRST + 16
BOOKS: Final = FIRST + (1 << 20)
"""Windows start after this, books before."""

_TIME = Struct(">q")
_HEAD: Final = _TIME.pack(-(1 << 63))


def stream_clock(stream: int) -> tuple[int, None]:
    """The key of the clock of one of several streams, by its number."""
    return CLOCKS + stream, None


class Head(tuple[int, ...]):
    """The times under which a key has entries, oldest first."""

    __slots__ = ()


def clock_of(entry: Entry | None) -> int:
    """The stream time that a clock entry tells; -1 before the first record."""
    return -1 if entry is None else entry[0]


def serde_entry(serde: Serde[Any]) -> tuple[Keep, Restore]:
    """For entries with one slot."""
    encode, decode = serde.encode, serde.decode
    return lambda entry: encode(entry[1]), lambda data: (decode(data),)


def stored_entry(timestamp: int, value: bytes) -> bytes:
    """The stored form of an entry whose one slot is encoded already."""
    return frame(_TIME.pack(timestamp) + value)


def keyed_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[Any, Entry]:
    """Entries under plain keys."""
    return Codec(key.encode, key.decode, *_entry(keep, restore), is_exact(key))


def windowed_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[tuple[int, Any], Entry]:
    """Entries under (start, key)."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: tuple[int, Any]) -> bytes:
        start, inner = slot
        return window_key(start, encode(inner)) if start > BOOKS else _encode_book(slot, encode, encode_key)

    def decode_key(data: bytes) -> tuple[int, Any]:
        start, inner = split_window_key(data)
        return (start, decode(inner)) if start > BOOKS else _decode_book(start, inner, decode, decode_key)

    return Codec(encode_key, decode_key, *_entry(keep, restore), is_exact(key))


def session_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[tuple[Any, ...], Entry]:
    """Entries under (end, start, key)."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: tuple[Any, ...]) -> bytes:
        end = slot[0]
        if end <= BOOKS:
            return _encode_book(slot, encode, encode_key)
        return window_key(end, window_key(slot[1], encode(slot[2])))

    def decode_key(data: bytes) -> tuple[Any, ...]:
        end, inner = split_window_key(data)
        if end <= BOOKS:
            return _decode_book(end, inner, decode, decode_key)
        start, inner = split_window_key(inner)
        return end, start, decode(inner)

    return Codec(encode_key, decode_key, *_entry(keep, restore), is_exact(key))


def _encode_book(slot: tuple[Any, ...], encode: Callable[[Any], bytes], encode_slot: Callable[[Any], bytes]) -> bytes:
    book, inner = slot
    if book == WAIT:
        return window_key(book, encode_slot(inner))
    return window_key(book, encode(inner) if book == HEAD else b"")


def _decode_book(
    book: int, data: bytes, decode: Callable[[bytes], Any], decode_slot: Callable[[bytes], Any]
) -> tuple[int, Any]:
    if book == WAIT:
        return book, decode_slot(data)
    return book, decode(data) if book == HEAD else None


def keyed_view(shown: Callable[[Entry], Any]) -> StoreView:
    """People see the result under the key."""
    return StoreView(from_value=shown, timestamp=_timestamp)


def windowed_view(end: Callable[[int], int], shown: Callable[[Entry], Any]) -> StoreView:
    """People see the result under the windowed key; `end` is that of a window by its start."""
    return StoreView(
        to_key=lambda windowed: (windowed.start, windowed.key),
        from_key=lambda slot: Windowed(slot[1], slot[0], end(slot[0])),
        from_value=shown,
        timestamp=_timestamp,
        visible=lambda slot: slot[0] > BOOKS,
    )


def session_view(shown: Callable[[Entry], Any]) -> StoreView:
    """People see the result under the key and session."""
    return StoreView(
        to_key=lambda windowed: (windowed.end, windowed.start, windowed.key),
        from_key=lambda slot: Windowed(slot[2], slot[1], slot[0]),
        from_value=shown,
        timestamp=_timestamp,
        visible=lambda slot: slot[0] > BOOKS,
    )


def _entry(keep: Keep, restore: Restore) -> tuple[Callable[[Entry], bytes], Callable[[bytes], Entry]]:
    time, time_of = _TIME.pack, _TIME.unpack_from

    def encode_value(entry: Entry) -> bytes:
        if entry.__class__ is Head:
            return _HEAD + pack(f">{len(entry)}q", *entry)
        return time(~entry[0]) if len(entry) == 1 else time(entry[0]) + keep(entry)

    def decode_value(data: bytes) -> Entry:
        timestamp: int = time_of(data)[0]
        if timestamp >= 0:
            return timestamp, *restore(data[8:])
        return Head(unpack_from(f">{len(data) // 8 - 1}q", data, 8)) if data[:8] == _HEAD else (~timestamp,)

    return encode_value, decode_value


def guarded(codec: Codec[Any, Any], store: str) -> Codec[Any, Any]:
    """The codec, with errors that say which store could not keep what: it is asked for bytes long after the record."""
    encode = codec.encode_value

    def encode_value(entry: Any) -> bytes:
        try:
            return encode(entry)
        except Exception as error:
            raise TopologyError(f"store {store!r} cannot keep {entry!r}: {type(error).__name__}: {error}") from error

    return replace(codec, encode_value=encode_value)


def _timestamp(entry: Entry) -> int:
    return entry[0]
