"""What a function's return annotation says about the serde of its results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from inspect import isroutine
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from typing_extensions import is_typeddict

from .serde import Serde
from .serde_json import json

__all__ = ["result_serde"]

BUILTIN = {bool, int, float, str, dict, list}


def result_serde(function: Callable[..., Any], *, each: bool = False) -> Serde[Any] | None:
    """JSON of the annotated type, where it is a model or a builtin; with `each`, of the items of the annotated type."""
    called: Any = function if isroutine(function) else type(function).__call__
    try:
        found = get_type_hints(called).get("return")
    except (AttributeError, NameError, TypeError):
        return None
    if each:
        arguments = get_args(found)
        found = arguments[0] if arguments else None
    if found in BUILTIN or get_origin(found) in (dict, list) or _is_model(found):
        return json(found)
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
