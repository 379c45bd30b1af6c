"""Which columns make a value of a serde, and how.

A value has a shape if it is a plain object, or a model of msgspec whose fields are text, numbers, truth values and
times without constraints.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from inspect import Parameter, signature
from typing import Any, Final

import msgspec
from msgspec import inspect

from ...operators.serdes.base import Serde
from ...operators.serdes.json import Json

__all__ = ["Field", "ValueShape", "shape_of"]

PLAIN: Final[Mapping[type[inspect.Type], type]] = {
    inspect.IntType: int,
    inspect.FloatType: float,
    inspect.StrType: str,
    inspect.BoolType: bool,
    inspect.DateTimeType: datetime,
}
ANY: Final = frozenset(PLAIN.values())


@dataclass(frozen=True)
class Field:
    """A field of a value."""

    name: str
    """In JSON."""
    types: frozenset[type] = ANY
    takes_null: bool = True
    required: bool = False
    default: Callable[[], Any] | None = None

    def takes(self, kind: type) -> bool:
        """Return whether it takes values of a type as they are."""
        return kind in self.types


@dataclass(frozen=True)
class ValueShape:
    """How values are made of columns."""

    model: type | None
    """None for plain objects, which have all columns."""
    fields: tuple[Field, ...]
    strict: bool = False
    """Whether other columns are an error."""

    def field(self, name: str) -> Field | None:
        """Return the field of a column, None if the values have none."""
        if self.model is None:
            return Field(name)
        return next((field for field in self.fields if field.name == name), None)

    def complete(self, names: Collection[str]) -> bool:
        """Return whether columns with these names suffice."""
        return all(field.name in names for field in self.fields if field.required)

    def values(self, columns: Mapping[str, list[Any]], count: int) -> list[Any]:
        """Return the values of so many rows."""
        if self.model is None:
            if not columns:
                return [{} for _ in range(count)]
            names = tuple(columns)
            return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return list(map(self.model, *(self._column(field, columns, count) for field in self.fields)))

    def moments(self, name: str, column: list[Any]) -> list[Any]:
        """Return times as JSON has them: as text, if no model says more."""
        field, texts = self.field(name), msgspec.to_builtins(column)
        is_typed = field is not None and datetime in field.types and str not in field.types
        return msgspec.convert(texts, list[datetime | None]) if is_typed else texts

    @staticmethod
    def _column(field: Field, columns: Mapping[str, list[Any]], count: int) -> list[Any]:
        found = columns.get(field.name)
        if found is not None:
            return found
        assert field.default is not None
        return [field.default() for _ in range(count)]


def shape_of(serde: Serde[Any]) -> ValueShape | None:
    """Return the shape of the values of a serde, None if they have none."""
    if not isinstance(serde, Json):
        return None
    model: Any = serde.model
    if model is Any:
        return ValueShape(None, ())
    if not (isinstance(model, type) and issubclass(model, msgspec.Struct)) or hasattr(model, "__post_init__"):
        return None
    about = inspect.type_info(model)
    assert isinstance(about, inspect.StructType)
    by_name_only = any(each.kind is Parameter.KEYWORD_ONLY for each in signature(model).parameters.values())
    if about.tag is not None or about.array_like or by_name_only or not about.fields:
        return None
    fields = tuple(map(_field, about.fields))
    made = tuple(field for field in fields if field is not None)
    return ValueShape(model, made, about.forbid_unknown_fields) if len(made) == len(fields) else None


def _field(about: inspect.Field) -> Field | None:
    of = about.type
    types = of.types if isinstance(of, inspect.UnionType) else (of,)
    takes_null = any(isinstance(each, (inspect.NoneType, inspect.AnyType)) for each in types)
    if any(isinstance(each, inspect.AnyType) for each in types):
        kinds = ANY
    else:
        plain = [each for each in types if not isinstance(each, inspect.NoneType)]
        kinds = frozenset(PLAIN[type(each)] for each in plain if type(each) in PLAIN and each == type(each)())
        if len(kinds) < len(plain) or not kinds:
            return None if about.required else _default_only(about)
    return Field(about.encode_name, kinds, takes_null, about.required, _default(about))


def _default_only(about: inspect.Field) -> Field:
    """Return a field of another type: it may have its default only."""
    return Field(about.encode_name, frozenset(), False, False, _default(about))


def _default(about: inspect.Field) -> Callable[[], Any] | None:
    if about.default_factory is not msgspec.NODEFAULT:
        made: Callable[[], Any] = about.default_factory
        return made
    return None if about.required else lambda: about.default
