"""The serde of a function's results, from its return annotation.

An annotation may be slightly wrong, such as `-> int` for a sum of floats. So each value that is written with it to a
store or an internal topic is immediately read once: an error is then that of the record.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from inspect import isroutine
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from typing_extensions import is_typeddict

from .base import Serde
from .json import Json, json

__all__ = ["Annotated", "result_serde"]

BUILTIN = {bool, int, float, str, dict, list}


class Annotated(Json[Any]):
    """JSON of an annotated type."""

    def __init__(self, model: Any) -> None:
        self.unchecked = json(model)
        """The same serde without the check, for topics that the program does not read."""
        super().__init__(model, repr(self.unchecked))

    def encode(self, value: Any, /) -> bytes:
        raw = super().encode(value)
        try:
            self.decode(raw)
        except Exception as error:
            raise TypeError(
                f"the function is annotated as returning what {self!r} reads, but returned {value!r}: {error}"
            ) from error
        return raw

    def encode_many(self, values: list[Any], /) -> list[bytes]:
        return list(map(self.encode, values))


def result_serde(function: Callable[..., Any], *, each: bool = False) -> Serde[Any] | None:
    """Return JSON of the annotated type if it is a model or a builtin; else None.

    With `each`, it is the item type of the annotated type.
    """
    called: Any = function if isroutine(function) else type(function).__call__
    try:
        found = get_type_hints(called).get("return")
    except (AttributeError, NameError, TypeError):
        return None
    if each:
        arguments = get_args(found)
        found = arguments[0] if arguments else None
    if found in BUILTIN or get_origin(found) in (dict, list) or _is_model(found):
        return Annotated(found)
    return None


def _is_model(cls: Any) -> bool:
    if not isinstance(cls, type):
        return False
    model: Any = cls
    return (
        issubclass(model, msgspec.Struct)
        or dataclasses.is_dataclass(model)
        or is_typeddict(model)
        or hasattr(model, "model_validate_json")
    )
