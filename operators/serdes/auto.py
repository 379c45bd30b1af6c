"""Tidemill's own encoding, for repartition topics and stores without a known serde.

A value is decoded unchanged: same type, same content. Plain data, dates, decimals and UUIDs are built in; msgspec
structs, dataclasses, named tuples, pydantic models and enums are written with the name of their class and rebuilt from
it. Nothing else is supported: no code is imported or run to read a value. The bytes are msgpack with extension types.

    key bytes:   UTF-8 of a str, as any other program would write it   |   0xFF, which no UTF-8 has, + the encoding
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any, Final, cast

import ormsgpack

from .classes import from_parts, positional, to_parts, zone_named

__all__ = ["AutoKey", "AutoValue", "auto", "auto_key", "plain_value"]

OPTIONS: Final = (
    ormsgpack.OPT_PASSTHROUGH_BIG_INT
    | ormsgpack.OPT_PASSTHROUGH_DATACLASS
    | ormsgpack.OPT_PASSTHROUGH_DATETIME
    | ormsgpack.OPT_PASSTHROUGH_ENUM
    | ormsgpack.OPT_PASSTHROUGH_SUBCLASS
    | ormsgpack.OPT_PASSTHROUGH_TUPLE
    | ormsgpack.OPT_PASSTHROUGH_UUID
)

# Extension types. Numbers are part of the stored format: never reuse one.
TUPLE, SET, FROZENSET, DICT, BIG_INT = 1, 2, 3, 4, 5
DATETIME, DATE, TIME, DELTA, DECIMAL, UUID, COMPLEX = 10, 11, 12, 13, 14, 15, 16
CLASS = 20

NOT_TEXT = b"\xff"
LONG = 1_000
"""The maximum number of trailing zeros of a decimal that is written as an int in a key."""


def _pack(value: Any) -> bytes:
    try:
        return ormsgpack.packb(value, _extension, OPTIONS)
    except TypeError:
        return _explained(lambda hook: ormsgpack.packb(_without_odd_dicts(value), hook, OPTIONS), _extension)


def _unpack(data: bytes) -> Any:
    try:
        return ormsgpack.unpackb(data, ext_hook=_value)
    except ValueError:
        return _explained(lambda hook: ormsgpack.unpackb(data, ext_hook=hook), _value)


def _explained(call: Callable[[Callable[..., Any]], Any], hook: Callable[..., Any]) -> Any:
    """Repeat the call, and raise the hook's own error, since ormsgpack's has no reason."""
    why: list[Exception] = []

    def listening(*args: Any) -> Any:
        try:
            return hook(*args)
        except Exception as error:
            why.append(error)
            raise

    try:
        return call(listening)
    except (TypeError, ValueError):
        if why:
            raise why[0] from None
        raise


class _OddDict:
    """A dict with keys that are not str, to be encoded."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs = pairs


class _NamedKey:
    """A named tuple in a key, to be encoded."""

    def __init__(self, value: tuple[Any, ...]) -> None:
        self.value = value


def _without_odd_dicts(value: Any) -> Any:
    """Return the value with the dicts that msgpack cannot encode replaced."""
    if type(value) is dict:
        items = cast("dict[Any, Any]", value)
        if all(type(key) is str for key in items):
            return {key: _without_odd_dicts(item) for key, item in items.items()}
        return _OddDict([part for pair in items.items() for part in pair])
    if type(value) is list:
        return [_without_odd_dicts(item) for item in cast("list[Any]", value)]
    return value


def _sorted(items: Any) -> list[Any]:
    """Return the items of a set in an order that does not depend on hashes."""
    return sorted(items, key=_pack)


def _datetime(value: dt.datetime) -> list[Any]:
    zone = value.tzinfo
    if zone is None:
        return [value.isoformat(), value.fold]
    name = getattr(zone, "key", None)  # zoneinfo
    if name is not None:
        return [value.replace(tzinfo=None).isoformat(), value.fold, name]
    if type(zone) is not dt.timezone:
        raise TypeError(
            f"{value!r} has a time zone of class {type(zone).__qualname__}: use zoneinfo or datetime.timezone"
        )
    return [value.isoformat(), value.fold]


def _int_bytes(value: int) -> bytes:
    return value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)


_WRITERS: dict[type, tuple[int, Callable[[Any], Any]]] = {
    tuple: (TUPLE, list),
    set: (SET, _sorted),
    frozenset: (FROZENSET, _sorted),
    _OddDict: (DICT, lambda odd: odd.pairs),
    _NamedKey: (CLASS, lambda key: positional(key.value)),
    int: (BIG_INT, _int_bytes),
    dt.datetime: (DATETIME, _datetime),
    dt.date: (DATE, dt.date.isoformat),
    dt.time: (TIME, lambda time: [time.isoformat(), time.fold]),
    dt.timedelta: (DELTA, lambda delta: [delta.days, delta.seconds, delta.microseconds]),
    decimal.Decimal: (DECIMAL, str),
    uuid.UUID: (UUID, lambda value: value.bytes),
    complex: (COMPLEX, lambda value: [value.real, value.imag]),
}


def _extension(value: Any) -> ormsgpack.Ext:
    """Return the extension type of a value that msgpack does not support."""
    found = _WRITERS.get(value.__class__)
    if found is None:
        return ormsgpack.Ext(CLASS, _pack(to_parts(value)))
    tag, simpler = found
    return ormsgpack.Ext(tag, _pack(simpler(value)))


def _read_datetime(parts: list[Any]) -> dt.datetime:
    value = dt.datetime.fromisoformat(parts[0]).replace(fold=parts[1])
    return value if len(parts) == 2 else value.replace(tzinfo=zone_named(parts[2]))


_READERS: dict[int, Callable[[Any], Any]] = {
    TUPLE: tuple,
    SET: set,
    FROZENSET: frozenset,
    DICT: lambda parts: dict(zip(parts[::2], parts[1::2], strict=True)),
    BIG_INT: lambda data: int.from_bytes(data, "big", signed=True),
    DATETIME: _read_datetime,
    DATE: dt.date.fromisoformat,
    TIME: lambda parts: dt.time.fromisoformat(parts[0]).replace(fold=parts[1]),
    DELTA: lambda parts: dt.timedelta(*parts),
    DECIMAL: decimal.Decimal,
    UUID: lambda data: uuid.UUID(bytes=data),
    COMPLEX: lambda parts: complex(*parts),
    CLASS: from_parts,
}


def _value(tag: int, data: bytes) -> Any:
    """Return the value of an extension type."""
    read = _READERS.get(tag)
    if read is None:
        raise ValueError(f"the value holds extension type {tag}, which this version of Tidemill does not know")
    return read(_unpack(data))


def _plain(tag: int, data: bytes) -> Any:
    inner: Any = ormsgpack.unpackb(data, ext_hook=_plain)
    return _fields(inner[1]) if tag == CLASS else _READERS[tag](inner)


def _fields(parts: Any) -> Any:
    """Return the fields of an object; of a pydantic model, those that were set."""
    if isinstance(parts, list):
        listed = cast("list[Any]", parts)
        if len(listed) == 2 and isinstance(listed[0], dict):
            return cast("dict[str, Any]", listed[0])
        return listed
    return parts


def plain_value(data: bytes) -> Any:
    """Return the value of some bytes, with objects as dicts of their fields."""
    return ormsgpack.unpackb(data, ext_hook=_plain)


class AutoValue:
    """The serde of any supported Python value."""

    closed = True

    takes = frozenset(
        {*(type(None), bool, int, float, complex, bytes), *(dt.date, dt.timedelta, decimal.Decimal, uuid.UUID)}
    )

    def encode(self, value: Any, /) -> bytes:
        return _pack(value)

    def decode(self, data: bytes, /) -> Any:
        return _unpack(data)

    def __repr__(self) -> str:
        return "auto"


class AutoKey:
    """The serde of keys: text as UTF-8, anything else as `auto` writes it.

    Keys that are equal in Python have the same bytes, since they are one key in a dict: 2.0 is written as 2, an enum of
    text as its text, a time as UTC. (True and 1 are an exception: a step must not receive both.)
    """

    hashable = True

    def encode(self, value: Any, /) -> bytes:
        if isinstance(value, str):
            return str.encode(value)
        return NOT_TEXT + _pack(_key_part(value))

    def decode(self, data: bytes, /) -> Any:
        return _unpack(data[1:]) if data[:1] == NOT_TEXT else data.decode()

    def __repr__(self) -> str:
        return "auto key"


def _shortest(value: decimal.Decimal) -> int | decimal.Decimal:
    """Return the value as an int, or without trailing zeros."""
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return value  # infinity
    while len(digits) > 1 and digits[-1] == 0:
        digits, exponent = digits[:-1], exponent + 1
    if value == 0 or 0 <= exponent <= LONG:
        return int(value)
    return decimal.Decimal((sign, digits, exponent))


def _key_part(value: Any) -> Any:
    """Return the form that all values equal to this one are written in."""
    match value:
        case bool() | bytes():
            return value
        case str():
            return str.__str__(value)
        case int():
            return int(value)
        case float() | decimal.Decimal() if value != value:
            raise ValueError("NaN is not equal to itself, so it cannot be a key")
        case float():
            return int(value) if value.is_integer() else value
        case decimal.Decimal():
            return _shortest(value)
        case dt.datetime():
            return (value if value.tzinfo is None else value.astimezone(dt.timezone.utc)).replace(fold=0)
        case tuple() if type(cast("object", value)) is tuple:
            return tuple(map(_key_part, cast("tuple[Any, ...]", value)))
        case tuple() if hasattr(cast("object", value), "_fields"):
            return _NamedKey(cast("tuple[Any, ...]", value))
        case frozenset():
            return frozenset(map(_key_part, cast("frozenset[Any]", value)))
        case _:
            hash(value)
            return value


auto: Final = AutoValue()
"""Tidemill's own encoding, which returns any Python data unchanged.

Stores and internal topics use it if no other serde is known. It is not meant for topics that other programs read.

Example:
    >>> tm.auto.decode(tm.auto.encode((1, {"item": "pen"}, None)))
    (1, {'item': 'pen'}, None)
"""
auto_key: Final = AutoKey()
"""Tidemill's own encoding for keys, with text as plain UTF-8."""
