"""Composite keys as bytes that sort like the tuples they come from.

A part is a signed 64-bit integer (8 bytes) or a byte string. All keys of one store have the same shape, so a key does
not encode its types, and a byte string in last place is stored as it is. In any other place its zero bytes are escaped
and it is terminated, so that no key is a prefix of another by accident. The encoding has the version of the values
(`store.VERSION`) and of the store's directory: keys are compared, so they carry no version of their own.

    (window start, key)   expiry is a range from the front          (key, map key)   (key, sequence)   one key's entries
    (due, key, name)      timers in the order they are due          (key, time, …)   one key's range of time
"""

from __future__ import annotations

from struct import Struct
from typing import Any, TypeVar, overload

__all__ = [
    "BIAS",
    "START",
    "numbered_key",
    "pack",
    "prefix_range",
    "split_window_key",
    "successor",
    "unpack",
    "window_key",
]

A = TypeVar("A", int, bytes)
B = TypeVar("B", int, bytes)
C = TypeVar("C", int, bytes)
D = TypeVar("D", int, bytes)

START = Struct(">Q")
_TWO = Struct(">QQ")
BIAS = 1 << 63
"""`START.pack(start + BIAS)` is the beginning of a key with a start."""
_ZERO, _ESCAPED, _END = b"\x00", b"\x00\xff", b"\x00\x01"


def pack(*parts: int | bytes) -> bytes:
    """Return the encoded key of these parts."""
    last = parts[-1]
    return _terminated(parts) if isinstance(last, int) else _terminated(parts[:-1]) + last


@overload
def unpack(raw: bytes, a: type[A], b: type[B], /) -> tuple[A, B]: ...
@overload
def unpack(raw: bytes, a: type[A], b: type[B], c: type[C], /) -> tuple[A, B, C]: ...
@overload
def unpack(raw: bytes, a: type[A], b: type[B], c: type[C], d: type[D], /) -> tuple[A, B, C, D]: ...
def unpack(raw: bytes, /, *shape: type[int] | type[bytes]) -> tuple[Any, ...]:
    """Return the parts of a key that was packed from parts of these types."""
    parts: list[int | bytes] = []
    at = 0
    last = len(shape) - 1
    for place, kind in enumerate(shape):
        if kind is int:
            parts.append(START.unpack_from(raw, at)[0] - BIAS)
            at += 8
        elif place == last:
            parts.append(raw[at:])
        else:
            end = raw.index(_END, at)
            parts.append(raw[at:end].replace(_ESCAPED, _ZERO))
            at = end + 2
    return tuple(parts)


def prefix_range(*parts: int | bytes) -> tuple[bytes, bytes | None]:
    """Return the range (lo, hi) of all keys that begin with these whole parts and have more."""
    prefix = _terminated(parts)
    return prefix, successor(prefix)


def successor(prefix: bytes) -> bytes | None:
    """Return the least byte string above all that begin with the prefix; None if none is."""
    body = prefix.rstrip(b"\xff")
    return body[:-1] + bytes((body[-1] + 1,)) if body else None


def window_key(start: int, key: bytes) -> bytes:
    """Return `pack(start, key)`, faster."""
    return START.pack(start + BIAS) + key


def numbered_key(start: int, number: int, key: bytes) -> bytes:
    """Return `pack(start, number, key)`, faster."""
    return _TWO.pack(start + BIAS, number + BIAS) + key


def split_window_key(raw: bytes) -> tuple[int, bytes]:
    """Return `unpack(raw, int, bytes)`, faster."""
    return START.unpack_from(raw)[0] - BIAS, raw[8:]


def _terminated(parts: tuple[int | bytes, ...]) -> bytes:
    return b"".join(
        [START.pack(part + BIAS) if isinstance(part, int) else part.replace(_ZERO, _ESCAPED) + _END for part in parts]
    )
