"""Value copies: user functions and stores never share a mutable object.

A mutable value is stored as its bytes, which a commit writes in any case: a function gets its own object, and sees what
it would see after a restart. A value that the serde cannot write, or could not read again, is rejected while its record
is known.

A value that is sent to several steps, or stored as well, is copied for each step with a user function.
"""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

from .base import Serde, taken_unseen

__all__ = ["Copier", "Encoded", "Keeper", "fresh", "is_fixed", "with_copies", "with_copy"]

ATOMS: Final = {
    *(type(None), bool, int, float, complex, str, bytes),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID),
}
"""The types of immutable values."""
SAME: Final = {bool, int, float, str, bytes}
"""Those of them that every serde returns unchanged."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A value as its serde writes it."""

    raw: bytes


class Keeper:
    """The conversion of user functions' results to the form in which they are stored, and back."""

    def __init__(self, serde: Serde[Any]) -> None:
        self.known = {type(None), *taken_unseen(serde), Encoded}
        """Classes whose values are stored unchanged; None is a deletion, which no serde writes."""
        self._serde = serde
        self._typed = getattr(serde, "typed", False)
        self._encode, self._decode = serde.encode, serde.decode

    def keep(self, value: Any) -> Any:
        """Return a value in the form in which it is stored.

        Raises TypeError for one that could not be read again, and the serde's error for one that it cannot write.
        """
        raw, again = self._tried(value)
        return again if again.__class__ in SAME else Encoded(raw)

    def written(self, value: Any) -> bytes:
        """Return the bytes of a value; raise what `keep` raises."""
        return self._tried(value)[0]

    def check(self, value: Any) -> None:
        """Raise what `keep` raises."""
        if value.__class__ not in self.known:
            self._tried(value)

    def _tried(self, value: Any) -> tuple[bytes, Any]:
        """Return the bytes of a value, and the value.

        If the serde may not read what it writes, it is the value as it is read again.
        """
        raw = self._encode(value)
        if not self._typed:
            return raw, value
        try:
            return raw, self._decode(raw)
        except Exception as error:
            raise TypeError(f"{self._serde!r} could not read {value!r} again: {error}") from error

    def own(self, kept: Any) -> Any:
        """Return the value, which the caller may change."""
        return self._decode(kept.raw) if kept.__class__ is Encoded else kept

    def again(self, value: Any) -> Any:
        """Return the value as it is after a restart, which the caller may change."""
        return value if value.__class__ in self.known else self._decode(self._encode(value))

    def stored(self, entry: tuple[Any, ...]) -> bytes:
        """Return the bytes of an entry's only slot."""
        kept = entry[1]
        return kept.raw if kept.__class__ is Encoded else self._encode(kept)


class Copier:
    """A function that returns a copy of a mutable value, and any other value unchanged."""

    def __init__(self, serde: Serde[Any]) -> None:
        self._known = taken_unseen(serde)
        self._encode, self._decode = serde.encode, serde.decode

    def __call__(self, value: Any) -> Any:
        return value if is_fixed(value) else self._decode(self._encode(value))

    def taken(self, value: Any) -> Any:
        """Return the copy of a value to be stored.

        Raises the serde's error for a value that it cannot write.
        """
        if value.__class__ in self._known:
            return value
        raw = self._encode(value)
        return value if is_fixed(value) else self._decode(raw)


def is_fixed(value: Any) -> bool:
    """Return whether a value, including everything in it, is immutable."""
    cls: type[object] = value.__class__
    if cls in ATOMS or issubclass(cls, enum.Enum):
        return True
    if issubclass(cls, (tuple, frozenset)):
        return all(map(is_fixed, value))
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_config__.frozen and all(is_fixed(getattr(value, name)) for name in cls.__struct_fields__)
    parameters, fields = getattr(cls, "__dataclass_params__", None), getattr(cls, "__dataclass_fields__", ())
    return parameters is not None and parameters.frozen and all(is_fixed(getattr(value, name)) for name in fields)


def fresh(value: Any) -> Any:
    """Return a copy of a value that shares no mutable object with it."""
    cls = value.__class__
    if cls in ATOMS:
        return value
    copier = _COPIERS.get(cls)
    if copier is not None:
        return copier(value)
    if issubclass(cls, msgspec.Struct):
        return _struct(value)
    if is_fixed(value):
        return value
    return copy.deepcopy(value)


def with_copies(function: Callable[[Any, Any], Any], *, first: bool = True) -> Callable[[Any, Any], Any]:
    """Return a function that gets copies of two values that a join stores.

    Without `first`, only the second one is copied.
    """

    def of_both(one: Any, other: Any) -> Any:
        return function(fresh(one), fresh(other))

    def of_second(one: Any, other: Any) -> Any:
        return function(one, fresh(other))

    return of_both if first else of_second


def with_copy(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that gets a copy of a value that a step stores or sends."""
    return lambda value: function(fresh(value))


def _dict(value: dict[Any, Any]) -> dict[Any, Any]:
    copied = value.copy()
    for key, item in value.items():
        if item.__class__ not in ATOMS:
            copied[key] = fresh(item)
    return copied


def _list(value: Iterable[Any]) -> list[Any]:
    return [item if item.__class__ in ATOMS else fresh(item) for item in value]


def _tuple(value: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_list(value))


def _set(value: set[Any]) -> set[Any]:
    return set(value)  # the items of a set are hashable, so they are taken as immutable


def _memoryview(value: memoryview) -> memoryview:
    if value.obj.__class__ is bytes:
        return value  # immutable
    if (value.format, value.ndim) != ("B", 1):
        raise TypeError(f"a memoryview of format {value.format!r} and {value.ndim} dimensions cannot be copied")
    return memoryview(value.tobytes())


def _struct(value: Any) -> Any:
    parts = _parts_of(value.__class__)(value)
    if ATOMS.issuperset(map(type, parts)):
        return value if value.__struct_config__.frozen else value.__copy__()
    copied = value.__copy__()
    for name, part in zip(value.__struct_fields__, parts, strict=True):
        if part.__class__ not in ATOMS:
            msgspec.structs.force_setattr(copied, name, fresh(part))
    return copied


@lru_cache(maxsize=1_000)
def _parts_of(cls: type[msgspec.Struct]) -> Callable[[Any], tuple[Any, ...]]:
    """Return the function from an object of a class to the values of its fields."""
    names = cls.__struct_fields__
    return attrgetter(*names) if len(names) > 1 else lambda value: tuple([getattr(value, name) for name in names])


_COPIERS: Final[dict[type, Callable[[Any], Any]]] = {
    dict: _dict,
    list: _list,
    tuple: _tuple,
    set: _set,
    memoryview: _memoryview,
}
