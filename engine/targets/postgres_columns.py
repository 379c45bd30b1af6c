"""From serdes to columns of PostgreSQL, and from keys and values to rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, cast

import msgspec
from msgspec import inspect

from ...operators.errors import TopologyError
from ...operators.serdes.base import Serde, float64, int64, raw, utf8, uuid
from ...operators.serdes.json import Json

__all__ = ["JSON", "ColumnType", "columns_of", "given_columns", "key_columns", "reader", "text_keys"]

JSON: Final = "jsonb"
MISSING: Final = object()

SCALARS: Final[Sequence[tuple[Serde[Any], str]]] = (
    (utf8, "text"),
    (int64, "bigint"),
    (float64, "double precision"),
    (uuid, "uuid"),
    (raw, "bytea"),
)
TYPES: Final[Mapping[type[inspect.Type], str]] = {
    inspect.BoolType: "boolean",
    inspect.IntType: "bigint",
    inspect.FloatType: "double precision",
    inspect.StrType: "text",
    inspect.BytesType: "bytea",
    inspect.DateTimeType: "timestamptz",
    inspect.DateType: "date",
    inspect.TimeType: "time",
    inspect.TimeDeltaType: "interval",
    inspect.UUIDType: "uuid",
    inspect.DecimalType: "numeric",
}


class ColumnType(NamedTuple):
    """A column: its name, and its type when the table is created."""

    name: str
    type: str


def columns_of(serde: Serde[Any] | None, single: str) -> tuple[ColumnType, ...]:
    """Return the columns for the values of a serde.

    They are the fields of a model, or one column with the name `single`: of the type of a number, a text and so on, or
    of JSON if nothing is known.
    """
    for known, of in SCALARS:
        if serde is known:
            return (ColumnType(single, of),)
    if not isinstance(serde, Json) or not serde.typed:
        return (ColumnType(single, JSON),)
    fields = _fields(serde.model)
    return tuple(ColumnType(name, of) for name, of in fields.items()) or (
        ColumnType(single, _type(_described(serde.model))),
    )


def key_columns(serde: Serde[Any] | None) -> tuple[ColumnType, ...]:
    """Return the columns for keys: like those of values, but text if nothing is known."""
    columns = columns_of(serde, "key")
    return tuple(ColumnType(name, "text" if of == JSON else of) for name, of in columns)


def given_columns(given: Mapping[str, str], what: str) -> tuple[ColumnType, ...]:
    """Return columns as the user states them.

    Raises TopologyError if they are not names and types.
    """
    items: Mapping[Any, Any] = given
    if not items or not all(isinstance(name, str) and isinstance(of, str) for name, of in items.items()):
        raise TopologyError(f'tm.postgres({what}=) takes names and types, such as {{"total": "bigint"}}, not {given!r}')
    return tuple(ColumnType(name, of) for name, of in given.items())


def reader(columns: Sequence[ColumnType], wrap: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """Return the function from a value to the contents of its columns.

    `wrap` is for those of JSON. It raises ValueError for a value that lacks one of several columns. With one column,
    that is the field of its name if there is one, else the whole value.
    """
    names = [column.name for column in columns]
    json = [column.type in ("json", JSON) for column in columns]

    def single(value: Any) -> list[Any]:
        found = _field(value, names[0])
        whole = value if found is MISSING else found
        return [_content(whole, json[0], wrap)]

    def several(value: Any) -> list[Any]:
        row: list[Any] = []
        if isinstance(value, (tuple, list)) and not hasattr(cast("Any", value), "_fields"):
            items = cast("Sequence[Any]", value)
            if len(items) != len(names):
                raise ValueError(f"{value!r} has {len(items)} items for the {len(names)} columns {', '.join(names)}")
            row.extend(items)
        else:
            for name in names:
                found = _field(value, name)
                if found is MISSING:
                    raise ValueError(f"{value!r} has no {name!r}, which is a column")
                row.append(found)
        return [_content(item, as_json, wrap) for item, as_json in zip(row, json, strict=True)]

    return single if len(names) == 1 else several


def text_keys(columns: Sequence[ColumnType], read: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    """Return a function from a key to its columns that refuses other types for those of text.

    Otherwise the keys 5 and "5" would be one row.
    """
    places = [place for place, column in enumerate(columns) if column.type == "text"]

    def checked(key: Any) -> list[Any]:
        row = read(key)
        for place in places:
            item = row[place]
            if item is not None and not isinstance(item, str):
                raise ValueError(
                    f"the key {key!r} has a {type(item).__name__} for the column {columns[place].name!r}, which is "
                    'text: state the types of the key, such as tm.postgres(..., key={"id": "bigint"})'
                )
        return row

    return checked


def _content(item: Any, as_json: bool, wrap: Callable[[Any], Any]) -> Any:
    if item is None:
        return None
    if as_json:
        return wrap(item)
    return item.value if isinstance(item, Enum) else item


def _field(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[Any, Any]", value)
        return fields.get(name, MISSING)
    if isinstance(value, (str, bytes, int, float)):
        return MISSING
    return getattr(value, name, MISSING)


def _fields(model: Any) -> dict[str, str]:
    """Return the types of the fields of a model, empty if it has none."""
    annotated = getattr(model, "model_fields", None)
    if isinstance(annotated, dict):  # pydantic
        fields = cast("dict[str, Any]", annotated)
        return {name: _type(_described(field.annotation)) for name, field in fields.items()}
    described = _described(model)
    if isinstance(
        described, (inspect.StructType, inspect.DataclassType, inspect.TypedDictType, inspect.NamedTupleType)
    ):
        return {field.name: _type(field.type) for field in described.fields}
    return {}


def _described(model: Any) -> inspect.Type:
    try:
        return inspect.type_info(model)
    except (TypeError, msgspec.ValidationError):
        return inspect.AnyType()


def _type(described: inspect.Type) -> str:
    if isinstance(described, inspect.Metadata):
        return _type(described.type)
    if isinstance(described, inspect.UnionType):
        found = {_type(one) for one in described.types if not isinstance(one, inspect.NoneType)}
        if found == {"bigint", "double precision"}:
            return "double precision"
        return found.pop() if len(found) == 1 else JSON
    if isinstance(described, inspect.EnumType):
        values = [member.value for member in described.cls]
        return "text" if all(isinstance(value, str) for value in values) else JSON
    if isinstance(described, inspect.LiteralType):
        return "text" if all(isinstance(value, str) for value in described.values) else JSON
    return TYPES.get(type(described), JSON)
