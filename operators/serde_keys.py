"""Keys in windows, and keys as other programs expect them.

A windowed key is written as Kafka Streams' own serialiser writes it: the bytes of the inner key and the window's start
in 8 bytes, big-endian. The window's size is not in the bytes, so the serde knows it. `plain_key` is what a sink uses
when nothing is known of a key: text as UTF-8, bytes as they are, JSON for everything else.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final, Generic

from typing_extensions import TypeVar

from .record import Windowed
from .serde import Serde
from .serde_json import json

__all__ = ["PlainKey", "WindowedKey", "plain_key"]

K = TypeVar("K", default=Any)

_START = Struct(">q")


class WindowedKey(Generic[K]):
    """Keys of windows of one size."""

    def __init__(self, inner: Serde[K], size: int) -> None:
        self.inner = inner
        self.size = size

    def encode(self, windowed: Windowed[K], /) -> bytes:
        return self.inner.encode(windowed.key) + _START.pack(windowed.start)

    def decode(self, data: bytes, /) -> Windowed[K]:
        if len(data) < 8:
            raise ValueError(f"a windowed key has at least 8 bytes, this one {len(data)}")
        start: int = _START.unpack_from(data, len(data) - 8)[0]
        return Windowed(self.inner.decode(data[:-8]), start, start + self.size)

    def __repr__(self) -> str:
        return f"windowed({self.inner!r}, {self.size} ms)"


class PlainKey:
    """Keys as any program can read them."""

    def encode(self, value: Any, /) -> bytes:
        if type(value) is str:
            return value.encode()
        return value if isinstance(value, bytes) else json.encode(value)

    def decode(self, data: bytes, /) -> str | bytes:
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def __repr__(self) -> str:
        return "plain key"


plain_key: Final = PlainKey()
"""Keys at a sink of which nothing is known."""
