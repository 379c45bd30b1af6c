"""Values between users' functions and what a step keeps: nobody has the same object as somebody else.

What can be changed in place is kept as its bytes, which is what a commit writes in any case: a function gets an object
of its own, and sees what it would see after a restart. What a serde cannot write, or could not read again, is refused
while the record that it came from is known.

A value that goes on to several steps, or is kept as well, is copied for each step with a function of the user's.
"""

from __future__ import annotations

import copy
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from .base import Serde, taken_unseen

__all__ = ["Copier", "Encoded", "Keeper", "fresh", "is_fixed", "with_copies", "with_copy"]

ATOMS: Final = {
    *(type(None), bool, int, float, complex, str, bytes),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID),
}
"""Classes of values that cannot be changed in place."""
SAME: Final = {bool, int, float, str, bytes}
"""Those of them that every serde gives back as they were."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """A value as its serde writes it."""

    raw: bytes


class Keeper:
    """Puts values that a user's function gave into the form in which they are kept, and back."""

    def __init__(self, serde: Serde[Any]) -> None:
        self.known = {type(None), *taken_unseen(serde), Encoded}
        """Classes whose values are kept as they are; None is what deletes, which no serde is asked to write."""
        self._serde = serde
        self._typed = getattr(serde, "typed", False)
        self._encode, self._decode = serde.encode, serde.decode

    def keep(self, value: Any) -> Any:
        """A value in the form in which it is kept. Raises TypeError for one that could not be read again, and what the
        serde raises for one that it cannot write."""
        raw, again = self._tried(value)
        return again if again.__class__ in SAME else Encoded(raw)

    def written(self, value: Any) -> bytes:
        """The bytes of a value. Raises what `keep` raises."""
        return self._tried(value)[0]

    def check(self, value: Any) -> None:
        """Raises what `keep` raises."""
        if value.__class__ not in self.known:
            self._tried(value)

    def _tried(self, value: Any) -> tuple[bytes, Any]:
        """The bytes of a value, and the value as it is read again where the serde may not read what it writes."""
        raw = self._encode(value)
        if not self._typed:
            return raw, value
        try:
            return raw, self._decode(raw)
        except Exception as error:
            raise TypeError(f"{self._serde!r} could not read {value!r} again: {error}") from error

    def own(self, kept: Any) -> Any:
        """The value, which the caller may change."""
        return self._decode(kept.raw) if kept.__class__ is Encoded else kept

    def again(self, value: Any) -> Any:
        """The value as it is after a restart, which the caller may change."""
        return value if value.__class__ in self.known else self._decode(self._encode(value))

    def stored(self, entry: tuple[Any, ...]) -> bytes:
        """The bytes of an entry's one slot."""
        kept = entry[1]
        return kept.raw if kept.__class__ is Encoded else self._encode(kept)


class Copier:
    """Calling it gives a value that may be changed in place as a copy, any other as it is."""

    def __init__(self, serde: Serde[Any]) -> None:
        self._known = taken_unseen(serde)
        self._encode, self._decode = serde.encode, serde.decode

    def __call__(self, value: Any) -> Any:
        return value if is_fixed(value) else self._decode(self._encode(value))

    def taken(self, value: Any) -> Any:
        """The same for a value that is to be kept. Raises what the serde raises for one that it cannot write."""
        if value.__class__ in self._known:
            return value
        raw = self._encode(value)
        return value if is_fixed(value) else self._decode(raw)


def is_fixed(value: Any) -> bool:
    """Whether a value cannot be changed in place, nor anything in it."""
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
    """A copy of a value that shares nothing with it that can be changed in place."""
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
    """A function of two values that a join keeps, or only of the second, which gets copies of them."""

    def of_both(one: Any, other: Any) -> Any:
        return function(fresh(one), fresh(other))

    def of_second(one: Any, other: Any) -> Any:
        return function(one, fresh(other))

    return of_both if first else of_second


def with_copy(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function of a value that a step keeps or sends on, which gets a copy of it."""
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
    return set(value)  # what is in a set cannot be changed, or it would not be there


def _memoryview(value: memoryview) -> memoryview:
    if value.obj.__class__ is bytes:
        return value  # nobody can change it
    if (value.format, value.ndim) != ("B", 1):
        raise TypeError(f"a memoryview of format {value.format!r} and {value.ndim} dimensions cannot be copied")
    return memoryview(value.tobytes())


def _struct(value: Any) -> Any:
    parts = [(name, part) for name in value.__struct_fields__ if (part := getattr(value, name)).__class__ not in ATOMS]
    if not parts and value.__struct_config__.frozen:
        return value
    copied = copy.copy(value)
    for name, part in parts:
        msgspec.structs.force_setattr(copied, name, fresh(part))
    return copied


_COPIERS: Final[dict[type, Callable[[Any], Any]]] = {
    dict: _dict,
    list: _list,
    tuple: _tuple,
    set: _set,
    memoryview: _memoryview,
}
