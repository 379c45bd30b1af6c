"""Values of earlier versions of a program: plain data, or of the type that a function takes.

A serde with a model reads what fits the model as it is now. What was stored before is read without the model.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any, get_args, get_type_hints

import msgspec
from typing_extensions import is_typeddict

from .auto import AutoValue, plain_value
from .base import Serde
from .from_plain import as_type
from .json import Json
from .msgpack import Msgpack

__all__ = ["old_value", "taking"]


def old_value(serde: Serde[Any]) -> Callable[[bytes], Any]:
    """Return a function from bytes of earlier versions to their value.

    Objects are dicts of their fields. A serde without a model reads them as it does now.
    """
    if isinstance(serde, AutoValue):
        return plain_value
    if isinstance(serde, Json):
        return msgspec.json.decode
    return msgspec.msgpack.decode if isinstance(serde, Msgpack) else serde.decode


def taking(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return the function with its argument in the type that it is annotated with, if any."""
    try:
        first = next(iter(signature(function).parameters))
        model = get_type_hints(function).get(first, Any)
    except (NameError, StopIteration, TypeError, ValueError):
        return function
    if model is Any or not isinstance(model, type) or get_args(model) or is_typeddict(model):  # get_args: Python 3.10
        return function
    wanted: Any = model

    def called(value: Any) -> Any:
        return function(value if isinstance(value, wanted) else as_type(wanted, value))

    return called
