"""From serdes to columns of Arrow, and from records to tables with these columns.

Imported only where a target needs it, because it needs pyarrow.

Each type has one form in all lakes, one that Spark and DuckDB read as well: times are microseconds in UTC, and what has
no type of its own, such as a union, is JSON as text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import msgspec
from msgspec import inspect

from ...operators.errors import TopologyError
from ...operators.graph.target import RecordsRefused, TargetInput
from ...operators.record import Record
from ...operators.schemas.models import fields_of, is_model
from ...operators.serdes.base import Serde, float64, int64, raw, utf8, uuid
from ...operators.serdes.json import to_builtin
from ..targets.postgres_columns import ColumnType, reader

__all__ = ["DELETED", "LakeColumn", "RowLayout", "given_columns", "key_columns", "value_columns"]

pa: Final[Any] = import_module("pyarrow")  # it has no types

TIME: Final[Any] = pa.timestamp("us", tz="UTC")
READ_BY_ARROW: Final = (bytes, datetime, date, time)
WRITTEN_AS_TEXT: Final = (UUID, Decimal, timedelta)
DELETED: Final = "tidemill_deleted"
"""The column of staged rows of a table that says whether the key is deleted; the table does not have it."""
WINDOW: Final = ("window_start", "window_end")
SCALARS: Final[Sequence[tuple[Serde[Any], Any]]] = (
    (utf8, pa.string()),
    (int64, pa.int64()),
    (float64, pa.float64()),
    (uuid, pa.string()),
    (raw, pa.binary()),
)
TYPES: Final[Mapping[type[inspect.Type], Any]] = {
    inspect.BoolType: pa.bool_(),
    inspect.IntType: pa.int64(),
    inspect.FloatType: pa.float64(),
    inspect.StrType: pa.string(),
    inspect.UUIDType: pa.string(),
    inspect.BytesType: pa.binary(),
    inspect.DateTimeType: TIME,
    inspect.DateType: pa.date32(),
    inspect.TimeType: pa.time64("us"),
    inspect.TimeDeltaType: pa.string(),
    inspect.DecimalType: pa.string(),
}


class LakeColumn(NamedTuple):
    """A column: its name, and its type, None for JSON as text."""

    name: str
    type: Any

    @property
    def arrow(self) -> Any:
        """The type of Arrow."""
        return pa.string() if self.type is None else self.type


def value_columns(serde: Serde[Any] | None, single: str = "value") -> tuple[LakeColumn, ...]:
    """Return the columns for the values of a serde.

    They are the fields of a model, or one column with the name `single`.
    """
    for known, of in SCALARS:
        if serde is known:
            return (LakeColumn(single, of),)
    model: Any = getattr(serde, "model", None) if getattr(serde, "typed", False) else None
    if is_model(model):
        return tuple(LakeColumn(field.attribute, _of_annotation(field.type)) for field in fields_of(model))
    return (LakeColumn(single, None if model is None else _of_annotation(model)),)


def key_columns(serde: Serde[Any] | None) -> tuple[LakeColumn, ...]:
    """Return the columns for keys: like those of values, but text if nothing is known."""
    return tuple(LakeColumn(name, of or pa.string()) for name, of in value_columns(serde, "key"))


def given_columns(given: Any, what: str) -> tuple[LakeColumn, ...]:
    """Return columns as the user states them: names and Arrow types, or a schema of Arrow.

    Raises TopologyError if they are not.
    """
    if isinstance(given, pa.Schema):
        return tuple(LakeColumn(field.name, field.type) for field in given)
    if not isinstance(given, Mapping) or not given:
        raise TopologyError(f'{what} takes names and types, such as {{"total": "int64"}}, not {given!r}')
    columns: list[LakeColumn] = []
    for name, of in cast("Mapping[Any, Any]", given).items():
        if not isinstance(name, str):
            raise TopologyError(f"{what}: the name of a column is a text, not {name!r}")
        try:
            columns.append(LakeColumn(name, None if isinstance(of, str) and of == "json" else _named(of)))
        except (ValueError, TypeError):
            raise TopologyError(
                f"{what}: {of!r}, of the column {name!r}, is not a type; write one such as 'string', 'int64', "
                "'float64', 'bool', 'timestamp', 'date32', 'binary' or 'json', or one of pyarrow's"
            ) from None
    return tuple(columns)


def _named(of: Any) -> Any:
    """Return the type of Arrow for a text or such a type."""
    if isinstance(of, pa.DataType):
        return of
    return TIME if of == "timestamp" else pa.type_for_alias(of)


@dataclass(frozen=True)
class RowLayout:
    """The columns of the rows that records become, in the order of the table."""

    given: TargetInput
    keys: tuple[LakeColumn, ...]
    """Those of the key, without the ones of its window."""
    values: tuple[LakeColumn, ...]
    timestamp: str | None
    """The column of the event time."""

    @property
    def key_names(self) -> tuple[str, ...]:
        """The columns that together are unique in a table."""
        return (*(column.name for column in self.keys), *(WINDOW if self.given.windowed and self.keys else ()))

    @property
    def schema(self) -> Any:
        """The columns as a schema of Arrow."""
        fields = [pa.field(column.name, column.arrow) for column in self.keys]
        fields += [pa.field(name, TIME) for name in self.key_names[len(self.keys) :]]
        fields += [pa.field(column.name, column.arrow) for column in self.values]
        if self.timestamp is not None:
            fields.append(pa.field(self.timestamp, TIME))
        return pa.schema(fields)

    def converter(self) -> RowConverter:
        """Return the function from records to rows."""
        return RowConverter(self)


class RowConverter:
    """Makes record batches of Arrow from records."""

    def __init__(self, layout: RowLayout) -> None:
        self._layout = layout
        self.schema = layout.schema.append(pa.field(DELETED, pa.bool_())) if layout.given.table else layout.schema
        self._read_key = _reader(layout.keys) if layout.keys else None
        self._read_value = _reader(layout.values)
        self._items = [_content(field.type) for field in self.schema]

    def rows(self, records: Sequence[Record[Any, Any]]) -> Any:
        """Return the rows of records as a record batch.

        A record of a table without a value is a row with null values, and true in `DELETED`. Raises RecordsRefused.
        """
        rows: list[list[Any]] = []
        wrong: dict[int, Exception] = {}
        for index, record in enumerate(records):
            try:
                rows.append(self._row(record))
            except Exception as error:
                wrong[index] = error
        if wrong:
            raise RecordsRefused(wrong)
        columns = list(zip(*rows, strict=True)) or [()] * len(self.schema)
        arrays = [self._array(field, items, wrong) for field, items in zip(self.schema, columns, strict=True)]
        if wrong:
            raise RecordsRefused(wrong)
        return pa.record_batch(arrays, schema=self.schema)

    def _row(self, record: Record[Any, Any]) -> list[Any]:
        layout, key, row = self._layout, record.key, list[Any]()
        if self._read_key is not None:
            row += self._read_key(key.key if layout.given.windowed else key)
            if layout.given.windowed:
                row += [key.start * 1000, key.end * 1000]
            if layout.given.table and None in row:
                raise ValueError(f"the key {key!r} has no value for a column of the key")
        if record.value is not None:
            row += self._read_value(record.value)
        elif layout.given.table:
            row += [None] * len(layout.values)
        else:
            raise ValueError(
                "a record without a value has no row: .filter(lambda value: value is not None) leaves it out"
            )
        if layout.timestamp is not None:
            row.append(record.timestamp * 1000)
        if layout.given.table:
            row.append(record.value is None)
        return [item if item is None else content(item) for item, content in zip(row, self._items, strict=True)]

    @staticmethod
    def _array(field: Any, items: Sequence[Any], wrong: dict[int, Exception]) -> Any:
        try:
            return pa.array(items, type=field.type)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            for index, item in enumerate(items):
                try:
                    pa.array([item], type=field.type)
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    reason = ValueError(f"{item!r} is no {field.type} for the column {field.name!r}: {error}")
                    wrong.setdefault(index, reason)
            if not wrong:
                raise
            return None


def _reader(columns: Sequence[LakeColumn]) -> Callable[[Any], list[Any]]:
    """Return the function from a key or a value to the contents of its columns."""
    named = [ColumnType(name, "json" if of is None else str(of)) for name, of in columns]
    return reader(named, _text)


_encode: Final = msgspec.json.Encoder(enc_hook=to_builtin).encode


def _text(value: Any) -> str:
    return _encode(value).decode()


def _same(item: Any) -> Any:
    return item


def _content(of: Any) -> Callable[[Any], Any]:
    """Return the function from an item to what Arrow takes for a type."""
    if of == pa.string():
        return lambda item: msgspec.to_builtins(item) if isinstance(item, WRITTEN_AS_TEXT) else item
    if of == TIME:
        return _instant
    if pa.types.is_nested(of):
        return lambda item: msgspec.to_builtins(item, builtin_types=READ_BY_ARROW, enc_hook=to_builtin)
    return _same


def _instant(item: Any) -> Any:
    if isinstance(item, datetime) and item.tzinfo is None:
        raise ValueError(f"{item!r} has no time zone, so it is no point in time")
    return item


def _of_annotation(annotation: Any) -> Any:
    """Return the type for an annotation, None for JSON as text."""
    try:
        return _type(inspect.type_info(annotation))
    except (TypeError, msgspec.ValidationError):
        return None


def _type(info: inspect.Type) -> Any:
    match info:
        case inspect.Metadata():
            return _type(info.type)
        case inspect.UnionType():
            found = {_type(one) for one in info.types if not isinstance(one, inspect.NoneType)}
            if found == {pa.int64(), pa.float64()}:
                return pa.float64()
            return found.pop() if len(found) == 1 else None
        case inspect.EnumType():
            return _of_values([member.value for member in info.cls])
        case inspect.LiteralType():
            return _of_values(info.values)
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            item = _type(info.item_type)
            return None if item is None else pa.list_(item)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            types = [(field.encode_name, _type(field.type)) for field in info.fields]
            return None if not types or any(of is None for _, of in types) else pa.struct(types)
        case _:
            return TYPES.get(type(info))


def _of_values(values: Sequence[Any]) -> Any:
    if all(isinstance(value, str) for value in values):
        return pa.string()
    return pa.int64() if all(isinstance(value, int) for value in values) else None
