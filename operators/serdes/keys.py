"""Serdes of windowed keys, and of keys for other programs.

A windowed key is written as Kafka Streams' own serializers write it (`TimeWindowedSerializer`, `WindowKeySchema`): the
bytes of the inner key and the window's start in 8 bytes, big-endian. The bytes do not have the window's end, so the
serde knows the windows. A session key has both (`SessionWindowedSerializer`, `SessionKeySchema`): the inner key, the
end and the start. A sink uses `plain_key` if nothing is known about a key: text as UTF-8, bytes unchanged, JSON for
everything else.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final, Generic

from typing_extensions import TypeVar

from ..record import Windowed
from ..time.windows import FixedWindows, SessionWindows, SlidingWindows, Windows
from .base import Serde, column_encoder, is_exact
from .json import json

__all__ = ["PlainKey", "SessionKey", "WindowedKey", "plain_key", "windowed_key"]

K = TypeVar("K", default=Any)

_START = Struct(">q")
_SESSION = Struct(">qq")


class WindowedKey(Generic[K]):
    """The serde of windowed keys with ends that follow from their starts."""

    suffix = 8
    """Bytes after those of the inner key."""

    def __init__(self, inner: Serde[K], windows: FixedWindows | SlidingWindows) -> None:
        self.inner = inner
        self.exact = is_exact(inner)
        self.windows = windows
        self._inner_column = column_encoder(inner)

    def encode(self, windowed: Windowed[K], /) -> bytes:
        return self.inner.encode(windowed.key) + _START.pack(windowed.start)

    def encode_many(self, column: list[Windowed[K]], /) -> list[bytes]:
        """Encode a column."""
        keys: Any = self._inner_column([windowed.key for windowed in column])
        return self.with_starts(keys, [windowed.start for windowed in column])

    @staticmethod
    def with_starts(keys: list[bytes], starts: list[int]) -> list[bytes]:
        """Return encoded keys in the windows with these starts."""
        suffixes = {start: _START.pack(start) for start in set(starts)}
        return [key + suffixes[start] for key, start in zip(keys, starts, strict=True)]

    def decode(self, data: bytes, /) -> Windowed[K]:
        if len(data) < 8:
            raise ValueError(f"a windowed key has at least 8 bytes, this one {len(data)}")
        start: int = _START.unpack_from(data, len(data) - 8)[0]
        return Windowed(self.inner.decode(data[:-8]), start, self.windows.end(start))

    def of(self, inner: Serde[Any]) -> WindowedKey[Any]:
        """Return the same with another serde inside."""
        return WindowedKey(inner, self.windows)

    def __repr__(self) -> str:
        return f"windowed({self.inner!r}, {self.windows})"


class SessionKey(Generic[K]):
    """The serde of session keys."""

    suffix = 16
    """Bytes after those of the inner key."""

    def __init__(self, inner: Serde[K]) -> None:
        self.inner = inner
        self.exact = is_exact(inner)
        self._inner_column = column_encoder(inner)

    def encode(self, windowed: Windowed[K], /) -> bytes:
        return self.inner.encode(windowed.key) + _SESSION.pack(windowed.end, windowed.start)

    def encode_many(self, column: list[Windowed[K]], /) -> list[bytes]:
        """Encode a column."""
        pack = _SESSION.pack
        keys: Any = self._inner_column([windowed.key for windowed in column])
        return [key + pack(windowed.end, windowed.start) for key, windowed in zip(keys, column, strict=True)]

    def decode(self, data: bytes, /) -> Windowed[K]:
        if len(data) < 16:
            raise ValueError(f"the key of a session has at least 16 bytes, this one {len(data)}")
        end, start = _SESSION.unpack_from(data, len(data) - 16)
        return Windowed(self.inner.decode(data[:-16]), start, end)

    def of(self, inner: Serde[Any]) -> SessionKey[Any]:
        """Return the same with another serde inside."""
        return SessionKey(inner)

    def __repr__(self) -> str:
        return f"session({self.inner!r})"


def windowed_key(inner: Serde[Any], windows: Windows) -> WindowedKey[Any] | SessionKey[Any]:
    """Return the serde of keys in these windows."""
    return SessionKey(inner) if isinstance(windows, SessionWindows) else WindowedKey(inner, windows)


class PlainKey:
    """The serde of keys that any program can read."""

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
"""The serde of keys at a sink if nothing is known about them."""
