"""Keys in windows, and keys as other programs expect them.

A windowed key is written as Kafka Streams' own serialisers write it (`TimeWindowedSerializer`, `WindowKeySchema`): the
bytes of the inner key and the window's start in 8 bytes, big-endian. The window's end is not in the bytes, so the serde
knows the windows. The key of a session has both (`SessionWindowedSerializer`, `SessionKeySchema`): the inner key, the
end and the start. `plain_key` is what a sink uses when nothing is known of a key: text as UTF-8, bytes as they are,
JSON for everything else.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final, Generic

from typing_extensions import TypeVar

from ..record import Windowed
from ..time.windows import FixedWindows, SessionWindows, SlidingWindows, Windows
from .base import Serde, is_exact
from .json import json

__all__ = ["PlainKey", "SessionKey", "WindowedKey", "plain_key", "windowed_key"]

K = TypeVar("K", default=Any)

_START = Struct(">q")
_SESSION = Struct(">qq")


class WindowedKey(Generic[K]):
    """Keys of windows that end where their start says."""

    def __init__(self, inner: Serde[K], windows: FixedWindows | SlidingWindows) -> None:
        self.inner = inner
        self.exact = is_exact(inner)
        self.windows = windows

    def encode(self, windowed: Windowed[K], /) -> bytes:
        return self.inner.encode(windowed.key) + _START.pack(windowed.start)

    def decode(self, data: bytes, /) -> Windowed[K]:
        if len(data) < 8:
            raise ValueError(f"a windowed key has at least 8 bytes, this one {len(data)}")
        start: int = _START.unpack_from(data, len(data) - 8)[0]
        return Windowed(self.inner.decode(data[:-8]), start, self.windows.end(start))

    def __repr__(self) -> str:
        return f"windowed({self.inner!r}, {self.windows})"


class SessionKey(Generic[K]):
    """Keys of sessions."""

    def __init__(self, inner: Serde[K]) -> None:
        self.inner = inner
        self.exact = is_exact(inner)

    def encode(self, windowed: Windowed[K], /) -> bytes:
        return self.inner.encode(windowed.key) + _SESSION.pack(windowed.end, windowed.start)

    def decode(self, data: bytes, /) -> Windowed[K]:
        if len(data) < 16:
            raise ValueError(f"the key of a session has at least 16 bytes, this one {len(data)}")
        end, start = _SESSION.unpack_from(data, len(data) - 16)
        return Windowed(self.inner.decode(data[:-16]), start, end)

    def __repr__(self) -> str:
        return f"session({self.inner!r})"


def windowed_key(inner: Serde[Any], windows: Windows) -> Serde[Any]:
    """The serde of keys in these windows."""
    return SessionKey(inner) if isinstance(windows, SessionWindows) else WindowedKey(inner, windows)


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
