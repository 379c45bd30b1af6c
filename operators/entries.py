"""How keyed steps keep a value and its event time under a key, and how people see that.

An entry is `(timestamp, value)`. A step that keeps event time of its own has one more entry, the clock, which sorts
before all others: its timestamp is the step's stream time. Encoded, an entry is 8 bytes of timestamp (complemented for
the clock, which has nothing else) and the value.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from ..state.cache import Codec
from ..state.keys import split_window_key, window_key
from .record import Windowed
from .serde import Serde
from .topology import StoreView

__all__ = ["CLOCK", "clock_of", "keyed_codec", "keyed_view", "windowed_codec", "windowed_view"]

Entry = tuple[int, Any]

CLOCK: Final = (-1, None)
"""The key of the clock in the cache of a windowed step."""

_TIME = Struct(">q")


def clock_of(entry: Entry | None) -> int:
    """The stream time that a clock entry tells; -1 before the first record."""
    return -1 if entry is None else entry[0]


def keyed_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Any, Entry]:
    """Entries under plain keys."""
    return Codec(key.encode, key.decode, *_entry(value))


def windowed_codec(key: Serde[Any], value: Serde[Any]) -> Codec[tuple[int, Any], Entry]:
    """Entries under (start, key)."""
    encode, decode = key.encode, key.decode

    def encode_key(slot: tuple[int, Any]) -> bytes:
        start, inner = slot
        return window_key(start, b"" if start < 0 else encode(inner))

    def decode_key(data: bytes) -> tuple[int, Any]:
        start, inner = split_window_key(data)
        return CLOCK if start < 0 else (start, decode(inner))

    return Codec(encode_key, decode_key, *_entry(value))


def keyed_view(result: Callable[[Any], Any] | None) -> StoreView:
    """People see the result under the key."""
    return StoreView(from_value=_shown(result), timestamp=_timestamp)


def windowed_view(size: int, result: Callable[[Any], Any] | None) -> StoreView:
    """People see the result under the windowed key."""
    return StoreView(
        to_key=lambda windowed: (windowed.start, windowed.key),
        from_key=lambda slot: Windowed(slot[1], slot[0], slot[0] + size),
        from_value=_shown(result),
        timestamp=_timestamp,
        visible=lambda slot: slot[0] >= 0,
    )


def _entry(value: Serde[Any]) -> tuple[Callable[[Entry], bytes], Callable[[bytes], Entry]]:
    encode, decode = value.encode, value.decode
    pack, unpack = _TIME.pack, _TIME.unpack_from

    def encode_value(entry: Entry) -> bytes:
        timestamp, content = entry
        return pack(~timestamp) if content is None else pack(timestamp) + encode(content)

    def decode_value(data: bytes) -> Entry:
        timestamp: int = unpack(data)[0]
        return (~timestamp, None) if timestamp < 0 else (timestamp, decode(data[8:]))

    return encode_value, decode_value


def _timestamp(entry: Entry) -> int:
    return entry[0]


def _shown(result: Callable[[Any], Any] | None) -> Callable[[Entry], Any]:
    if result is None:
        return lambda entry: entry[1]
    return lambda entry: result(entry[1])
