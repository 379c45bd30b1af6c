"""What a keyed step does with a value: accumulate, show, keep.

A `Fold` is the user's side of count, reduce and aggregate, without keys, windows or time: a function from the
accumulator (None when there is none) and a value to the new accumulator (None deletes), a function from the accumulator
to the result, and a serde for the store.

An accumulator that can be changed in place is handed to the user's function as a copy of its own, by way of the serde:
results already sent stay as they were, a function that fails half-way spoils nothing, and what the function sees is
what it would see after a restart.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from .serde import Serde

__all__ = ["Fold", "aggregating", "copier", "counting", "reducing"]

Step = Callable[[Any, Any], Any]

_FIXED = {
    *(type(None), bool, int, float, complex, str, bytes, tuple, frozenset),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID),
}


@dataclass(frozen=True)
class Fold:
    """How values become an accumulator and an accumulator a result."""

    choose: Callable[[Any], Step]
    """The function for values like this one."""
    result: Callable[[Any], Any] | None
    """None: the accumulator is the result."""
    serde: Serde[Any]
    compiled: bool = False


def counting(serde: Serde[Any]) -> Fold:
    """How many values there were."""

    def step(state: int | None, _value: Any) -> int:
        return 1 if state is None else state + 1

    return Fold(lambda value: step, None, serde)


def reducing(function: Callable[[Any, Any], Any], serde: Serde[Any]) -> Fold:
    """The first value, then the function of what there was and the next value."""
    own = copier(serde)

    def step(state: Any, value: Any) -> Any:
        return value if state is None else function(own(state), value)

    return Fold(lambda value: step, None, serde)


def aggregating(initial: Any, function: Callable[[Any, Any], Any], serde: Serde[Any]) -> Fold:
    """The function of an accumulator, which begins as `initial` (called, if it can be), and the value."""
    own = copier(serde)
    fresh: Callable[[], Any] = initial if callable(initial) else lambda: own(initial)

    def step(state: Any, value: Any) -> Any:
        return function(fresh() if state is None else own(state), value)

    return Fold(lambda value: step, None, serde)


def copier(serde: Serde[Any]) -> Callable[[Any], Any]:
    """A function that gives a value that may be changed in place as a copy, any other as it is."""
    fixed = set(_FIXED)
    encode, decode = serde.encode, serde.decode

    def own(value: Any) -> Any:
        cls: type[Any] = value.__class__
        if cls in fixed:
            return value
        if _is_fixed(cls):
            fixed.add(cls)
            return value
        return decode(encode(value))

    return own


def _is_fixed(cls: type[object]) -> bool:
    if issubclass(cls, msgspec.Struct):
        return cls.__struct_config__.frozen
    parameters = getattr(cls, "__dataclass_params__", None)
    if parameters is not None:
        return parameters.frozen
    return issubclass(cls, enum.Enum) or hasattr(cls, "_fields")
