"""The serde interface and the plain serdes.

A serde is any object with `encode` and `decode`. It may also have `encode_many` and `decode_many` for whole lists, if
that is faster; both may fail with any error, and the caller then encodes one by one to find the value that failed. A
serde may declare properties: `exact = True`, two values are equal if, and only if, it writes the same bytes for them;
`takes`, a set of classes whose values it writes and reads unchanged; `typed = True`, it may write values that it does
not read; `closed = True`, it writes everything that it reads; `without_nulls = True`, a source leaves out records with
a null value; `scattered = True`, equal keys of a topic may be in several partitions, and `like` is the serde that has
the bytes of its keys elsewhere.

This module has the plain serdes and the encoding of columns with null values; JSON, msgpack and Tidemill's own encoding
have their own modules.
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
    """Encodes values of type T as bytes and decodes them: any object with these two methods.

    Example:
        >>> class Celsius:
        ...     def encode(self, value):
        ...         return f"{value:.1f}".encode()
        ...     def decode(self, data):
        ...         return float(data)
        >>> readings = app.stream("readings", key=tm.utf8, value=Celsius())
    """

    def encode(self, value: T, /) -> bytes:
        """Return the bytes of a value; raise any exception if it has none.

        Args:
            value: The value, never None.

        Example:
            >>> tm.int64.encode(258).hex()
            '0000000000000102'
        """
        ...

    def decode(self, data: bytes, /) -> T:
        """Return the value of some bytes; raise any exception if they are invalid.

        Args:
            data: The bytes.

        Example:
            >>> tm.utf8.decode(b"pen")
            'pen'
        """
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
    """A number in a fixed number of big-endian bytes, as Kafka's own serializers write it."""

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
    """UUIDs as text, as Kafka's own serializer writes them."""

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
"""Text as UTF-8.

Example:
    >>> tm.utf8.encode("pen")
    b'pen'
"""
raw = Raw()
"""Bytes as they are.

Example:
    >>> tm.raw.encode(b"pen")
    b'pen'
"""
int64 = Packed[int]("int64", ">q", exact=True)
"""An int in 8 big-endian bytes, as Kafka's own serializer writes a Long.

Example:
    >>> tm.int64.encode(258).hex()
    '0000000000000102'
"""
float64 = Packed[float]("float64", ">d", exact=False)
"""A float in 8 big-endian bytes, as Kafka's own serializer writes a Double.

Example:
    >>> tm.float64.encode(1.5).hex()
    '3ff8000000000000'
"""
uuid = Uuid()
"""A `uuid.UUID` as text, as Kafka's own serializer writes it.

Example:
    >>> import uuid
    >>> tm.uuid.encode(uuid.UUID(int=1))
    b'00000000-0000-0000-0000-000000000001'
"""


def check_serde(serde: Serde[T] | None, what: str) -> Serde[T] | None:
    """Return the serde; raise TopologyError if it is not one."""
    if serde is None:
        return None
    whole = callable(getattr(serde, "encode", None)) and callable(getattr(serde, "decode", None))
    if whole and not isinstance(serde, type):
        return serde
    name = getattr(serde, "__name__", repr(serde))
    advice = f"for typed JSON write tm.json({name})" if isinstance(serde, type) else "such as tm.json or tm.utf8"
    raise TopologyError(f"{what}{name} is not a serde: give an object with encode and decode; {advice}")


def is_exact(serde: Serde[Any]) -> bool:
    """Return whether values are equal if, and only if, the serde writes the same bytes for them."""
    return getattr(serde, "exact", False) is True


def is_closed(serde: Serde[Any]) -> bool:
    """Return whether the serde writes everything that it reads."""
    return getattr(serde, "closed", False) is True


def taken_unseen(serde: Serde[Any]) -> frozenset[type]:
    """Return the classes with values that the serde writes, and reads unchanged."""
    return getattr(serde, "takes", frozenset[type]())


def column_decoder(serde: Serde[Any]) -> Callable[[list[bytes | None]], list[Any]]:
    """Return a function that decodes a column; None stays None.

    Its errors do not identify the value.
    """
    one = serde.decode
    many: Callable[[list[bytes]], list[Any]] | None = getattr(serde, "decode_many", None)
    if isinstance(serde, Raw):
        return list
    return _column(one, many)


def column_encoder(serde: Serde[Any]) -> Callable[[list[Any]], list[bytes | None]]:
    """Return a function that encodes a column; None stays None.

    Its errors do not identify the value.
    """
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
