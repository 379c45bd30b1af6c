"""Bytes to values and back.

A serde is any object with `encode` and `decode`. It may also offer `encode_many` and `decode_many` for whole lists,
where that is faster; both give up with any error, and the caller then goes one by one to find the value that is to
blame. It may say more of itself: `exact = True`, two values are equal if, and only if, it writes the same bytes for
them; `takes`, a set of classes of which it writes every value and reads it again as it was; `typed = True`, it may
write what it does not read; `closed = True`, it writes everything that it reads.

This file has the plain serdes and the walk over columns with holes; JSON, msgpack and Tidemill's own encoding are in
files of their own.
"""

from __future__ import annotations

import struct
import uuid as uuids
from collections.abc import Callable
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from ..errors import TopologyError

__all__ = [
    "Serde",
    "check_serde",
    "column_decoder",
    "column_encoder",
    "float64",
    "int64",
    "is_closed",
    "is_exact",
    "raw",
    "taken_unseen",
    "utf8",
    "uuid",
]

T = TypeVar("T", default=Any)


class Serde(Protocol[T]):
    """Encodes values of type `T` as bytes and decodes them again."""

    def encode(self, value: T, /) -> bytes:
        """The bytes that stand for a value; an exception says that none do."""
        ...

    def decode(self, data: bytes, /) -> T:
        """The value of some bytes; an exception says that they are none."""
        ...


class Utf8:
    """Text as UTF-8."""

    exact = closed = True

    def __init__(self) -> None:
        self.decode: Callable[[bytes], str] = bytes.decode

    def encode(self, value: str, /) -> bytes:
        try:
            return str.encode(value)
        except TypeError:
            raise TypeError(f"utf8 writes text, not {value!r}, which is of type {type(value).__name__}") from None

    def encode_many(self, values: list[str], /) -> list[bytes]:
        try:
            return list(map(str.encode, values))
        except TypeError:
            return list(map(self.encode, values))

    def __repr__(self) -> str:
        return "utf8"


class Raw:
    """Bytes as they are."""

    exact = closed = True
    takes = frozenset({bytes})

    def encode(self, value: bytes, /) -> bytes:
        if not isinstance(value, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"raw writes bytes, not {type(value).__name__}: encode the value first or give a serde")
        return value

    def decode(self, data: bytes, /) -> bytes:
        return data

    def __repr__(self) -> str:
        return "raw"


class Packed(Generic[T]):
    """A number in a fixed count of big-endian bytes, as Kafka's own serialisers write it."""

    closed = hashable = True

    def __init__(self, name: str, form: str, *, exact: bool) -> None:
        self.exact = exact
        self._name = name
        self._struct = struct.Struct(form)

    def encode(self, value: T, /) -> bytes:
        try:
            return self._struct.pack(value)
        except struct.error as error:
            raise ValueError(f"{self._name} cannot write {value!r}: {error}") from None

    def decode(self, data: bytes, /) -> T:
        try:
            return self._struct.unpack(data)[0]
        except struct.error:
            raise ValueError(f"{self._name} reads {self._struct.size} bytes, not {len(data)}") from None

    def __repr__(self) -> str:
        return self._name


class Uuid:
    """UUIDs as text, as Kafka's own serialiser writes them."""

    exact = closed = True
    takes = frozenset({uuids.UUID})

    def encode(self, value: uuids.UUID, /) -> bytes:
        if not isinstance(value, uuids.UUID):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"uuid writes UUIDs, not {type(value).__name__}: make one with uuid.UUID(...)")
        return str(value).encode()

    def decode(self, data: bytes, /) -> uuids.UUID:
        return uuids.UUID(data.decode())

    def __repr__(self) -> str:
        return "uuid"


utf8 = Utf8()
"""Text."""
raw = Raw()
"""Bytes, untouched."""
int64 = Packed[int]("int64", ">q", exact=True)
"""Whole numbers in 8 bytes, big-endian (Java's `Long` serialiser)."""
float64 = Packed[float]("float64", ">d", exact=False)
"""Floating-point numbers in 8 bytes, big-endian (Java's `Double` serialiser)."""
uuid = Uuid()
"""UUIDs as text (Java's `UUID` serialiser)."""


def check_serde(serde: Serde[T] | None, what: str) -> Serde[T] | None:
    """The serde itself; raises TopologyError when it is not one."""
    if serde is None:
        return None
    whole = callable(getattr(serde, "encode", None)) and callable(getattr(serde, "decode", None))
    if whole and not isinstance(serde, type):
        return serde
    name = getattr(serde, "__name__", repr(serde))
    advice = f"for typed JSON write tm.json({name})" if isinstance(serde, type) else "such as tm.json or tm.utf8"
    raise TopologyError(f"{what}{name} is not a serde: give an object with encode and decode; {advice}")


def is_exact(serde: Serde[Any]) -> bool:
    """Whether two values are equal if, and only if, the serde writes the same bytes for them."""
    return getattr(serde, "exact", False) is True


def is_closed(serde: Serde[Any]) -> bool:
    """Whether the serde writes everything that it reads."""
    return getattr(serde, "closed", False) is True


def taken_unseen(serde: Serde[Any]) -> frozenset[type]:
    """Classes of which the serde writes every value, and reads it again as it was."""
    return getattr(serde, "takes", frozenset[type]())


def column_decoder(serde: Serde[Any]) -> Callable[[list[bytes | None]], list[Any]]:
    """A function that decodes a column; None stays None, and an error says nothing of where it happened."""
    one = serde.decode
    many: Callable[[list[bytes]], list[Any]] | None = getattr(serde, "decode_many", None)
    if isinstance(serde, Raw):
        return list
    return _column(one, many)


def column_encoder(serde: Serde[Any]) -> Callable[[list[Any]], list[bytes | None]]:
    """A function that encodes a column; None stays None, and an error says nothing of where it happened."""
    return _column(serde.encode, getattr(serde, "encode_many", None))


def _column(one: Callable[[Any], Any], many: Callable[[Any], list[Any]] | None) -> Callable[[list[Any]], list[Any]]:
    def each(column: list[Any]) -> list[Any]:
        return list(map(one, column))

    whole = many or each

    def with_holes(column: list[Any]) -> list[Any]:
        filled = [item for item in column if item is not None]
        done = whole(filled)
        if len(filled) == len(column):
            return done
        following = iter(done)
        return [None if item is None else next(following) for item in column]

    return with_holes
