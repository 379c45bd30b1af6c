"""Values from plain data: the way back of what a dump writes in JSON types.

A serde with a model knows the types of its values; for one without, data stays plain. Cells of a CSV file are text of
unknown type (`CellText`), and become what the serde reads.
"""

from __future__ import annotations

import base64
import uuid as uuids
from collections.abc import Callable
from typing import Any, cast

import msgspec

from .auto import AutoKey, AutoValue
from .base import Packed, Raw, Serde, Utf8, Uuid
from .hashable import HashableKeys, hashable

__all__ = ["CellText", "as_type", "from_plain", "known", "number"]


class CellText(str):
    """The text of a cell in a CSV file, whose type is not known."""

    __slots__ = ()


def known(value: Any) -> Any:
    """Return a value in which cells are what they mean as JSON, or else their text."""
    if value.__class__ is CellText:
        try:
            return msgspec.json.decode(str(value))
        except msgspec.DecodeError:
            return str(value)
    if isinstance(value, dict):
        return {name: known(part) for name, part in cast("dict[str, Any]", value).items()}
    return value


def number(value: Any) -> int | float:
    """Return a number. Raises ValueError."""
    found = known(value)
    if isinstance(found, (int, float)) and not isinstance(found, bool):
        return found
    raise ValueError(f"{value!r} is not a number")


def as_type(model: Any, value: Any) -> Any:
    """Return the value of a type. Raises ValueError."""
    if model is Any or model is object:
        return known(value)
    plain = _texts(value)
    validate = getattr(model, "model_validate", None)  # pydantic
    for data in (plain, _filled(plain), _opened(plain), _filled(_opened(plain))):
        try:
            return validate(data) if validate else msgspec.convert(data, model, strict=False, str_keys=True)
        except ValueError as error:
            failure = error
    raise ValueError(str(failure))


def from_plain(serde: Serde[Any]) -> Callable[[Any], Any]:
    """Return a function from plain data to the value of a serde. It raises ValueError."""
    if isinstance(serde, HashableKeys):
        inner = from_plain(serde.inner)
        return lambda value: hashable(inner(value))
    if isinstance(serde, Utf8):
        return _text
    if isinstance(serde, Raw):
        return _bytes
    if isinstance(serde, Packed):
        return lambda value: _written(serde, number(value))
    if isinstance(serde, Uuid):
        return lambda value: uuids.UUID(str(value))
    if isinstance(serde, AutoKey):
        return _key
    if isinstance(serde, AutoValue):
        return known
    model = getattr(serde, "model", None)
    if model is not None:
        return lambda value: as_type(model, value)
    return lambda value: _written(serde, known(value))


def _text(value: Any) -> str:
    if isinstance(value, str):
        return str(value)
    raise ValueError(f"{value!r} is not text")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{value!r} is not bytes, which are written as base64") from error


def _written(serde: Serde[Any], value: Any) -> Any:
    """Return the value as the serde reads it again. Raises ValueError."""
    try:
        return serde.decode(serde.encode(value))
    except Exception as error:  # whatever a serde raises
        raise ValueError(f"{serde!r} cannot write {value!r}: {error}") from error


def _key(value: Any) -> Any:
    """Return a key of a step without a serde for it."""
    if value.__class__ is CellText:
        if known(value).__class__ is not str:
            raise ValueError(
                f"the key {str(value)!r} may be text or not: give the step a serde for its key, or load JSON lines"
            )
        return str(value)
    if isinstance(value, list):
        return tuple(map(_key, cast("list[Any]", value)))
    if isinstance(value, dict):
        raise ValueError(f"the key {value!r} is an object of a class that is not known: give the step a serde for it")
    return value


def _texts(value: Any) -> Any:
    """Return a value with cells as plain text."""
    if isinstance(value, dict):
        return {name: _texts(part) for name, part in cast("dict[str, Any]", value).items()}
    return str(value) if value.__class__ is CellText else value


def _opened(value: Any) -> Any:
    """Return a value in which text that is a list or an object in JSON is that."""
    if isinstance(value, dict):
        return {name: _opened(part) for name, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return known(CellText(value))
    return value


def _filled(value: Any) -> Any:
    """Return an object without the fields that are None."""
    if not isinstance(value, dict):
        return value
    return {name: part for name, part in cast("dict[str, Any]", value).items() if part is not None}
