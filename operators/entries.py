"""How keyed steps keep state and its event time under a key, and how people see that.

An entry is `(timestamp, *slots)`, the slots being the fold's. A step that keeps event time of its own has one more
entry, the clock, which sorts before all others: `(stream time,)`. Encoded, an entry is 8 bytes of timestamp and the
slots; the clock is its complemented timestamp alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from struct import Struct
from typing import Any, Final

from ..state.cache import Codec
from ..state.keys import split_window_key, window_key
from .errors import TopologyError
from .record import Windowed
from .serde import Serde
from .topology import StoreView

__all__ = [
    "CLOCK",
    "Entry",
    "clock_of",
    "guarded",
    "keyed_codec",
    "keyed_view",
    "serde_entry",
    "windowed_codec",
    "windowed_view",
]

Entry = tuple[Any, ...]
Keep = Callable[[Entry], bytes]
Restore = Callable[[bytes], Entry]

CLOCK: Final = (-1, None)
"""The key of the clock in the cache of a windowed step."""

_TIME = Struct(">q")


def clock_of(entry: Entry | None) -> int:
    """The stream time that a clock entry tells; -1 before the first record."""
    return -1 if entry is None else entry[0]


def serde_entry(serde: Serde[Any]) -> tuple[Keep, Restore]:
    """For entries with one slot."""
    encode, decode = serde.encode, serde.decode
    return lambda entry: encode(entry[1]), lambda data: (decode(data),)


def keyed_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[Any, Entry]:
    """Entries under plain keys."""
    return Codec(key.encode, key.decode, *_entry(keep, restore))


def windowed_codec(key: Serde[Any], keep: Keep, restore: Restore) -> Codec[tuple[int, Any], Entry]:
    """Entries under (start, key)."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: tuple[int, Any]) -> bytes:
        start, inner = slot
        return window_key(start, b"" if start < 0 else encode(inner))

    def decode_key(data: bytes) -> tuple[int, Any]:
        start, inner = split_window_key(data)
        return CLOCK if start < 0 else (start, decode(inner))

    return Codec(encode_key, decode_key, *_entry(keep, restore))


def keyed_view(shown: Callable[[Entry], Any]) -> StoreView:
    """People see the result under the key."""
    return StoreView(from_value=shown, timestamp=_timestamp)


def windowed_view(size: int, shown: Callable[[Entry], Any]) -> StoreView:
    """People see the result under the windowed key."""
    return StoreView(
        to_key=lambda windowed: (windowed.start, windowed.key),
        from_key=lambda slot: Windowed(slot[1], slot[0], slot[0] + size),
        from_value=shown,
        timestamp=_timestamp,
        visible=lambda slot: slot[0] >= 0,
    )


def _entry(keep: Keep, restore: Restore) -> tuple[Callable[[Entry], bytes], Callable[[bytes], Entry]]:
    pack, unpack = _TIME.pack, _TIME.unpack_from

    def encode_value(entry: Entry) -> bytes:
        return pack(~entry[0]) if len(entry) == 1 else pack(entry[0]) + keep(entry)

    def decode_value(data: bytes) -> Entry:
        timestamp: int = unpack(data)[0]
        return (~timestamp,) if timestamp < 0 else (timestamp, *restore(data[8:]))

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
