"""Arrow columns of values: their fields, the types of these, and the record batch.

Needs pyarrow, so only `frames.py` imports it, when a function takes a frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from importlib import import_module
from operator import attrgetter
from typing import Any, Final

import msgspec
from msgspec import inspect
from typing_extensions import is_typeddict

from ..schemas.models import fields_of, is_model
from ..serdes.json import to_builtin

__all__ = ["ArrowColumn", "columns_in", "columns_of", "record_batch"]

pa: Final[Any] = import_module("pyarrow")  # it has no types

READ_BY_ARROW: Final = (bytes, bytearray, datetime, date, time, timedelta, Decimal)
"""Types that msgspec would replace by text."""
VALUE: Final = "value"
"""The column of values without fields."""
PLAIN: Final = (
    *(inspect.IntType, inspect.FloatType, inspect.StrType, inspect.BoolType, inspect.NoneType, inspect.BytesType),
    *(inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType, inspect.DecimalType),
)
"""Types of items that Arrow reads as they are."""


@dataclass(frozen=True)
class ArrowColumn:
    """A column: how it is read from a value, and its type, None if Arrow infers it."""

    name: str
    get: Callable[[Any], Any]
    type: Any = None
    plain: bool = False
    """Whether the items are what Arrow reads, so that none has to be converted."""

    @classmethod
    def of_key(cls, name: str, type_: Any = None, *, plain: bool = False) -> ArrowColumn:
        """Return the column of a key of dicts."""
        return cls(name, lambda value: value.get(name), type_, plain)

    def array(self, values: Sequence[Any]) -> Any:
        """Return the items as an Arrow array; a value that is None has null in every column."""
        get = self.get
        items = [None if value is None else get(value) for value in values]
        if not self.plain:
            items = [msgspec.to_builtins(item, builtin_types=READ_BY_ARROW, enc_hook=to_builtin) for item in items]
        return pa.array(items, type=self.type)


def columns_of(model: Any) -> list[ArrowColumn] | None:
    """Return the columns of a model; None if its fields are not known."""
    if not is_model(model):
        return None
    keyed = is_typeddict(model)
    columns: list[ArrowColumn] = []
    for field in fields_of(model):
        type_, plain = _type_of(field.type)
        if keyed:
            columns.append(ArrowColumn.of_key(field.name, type_, plain=plain))
        else:
            columns.append(ArrowColumn(field.attribute, attrgetter(field.attribute), type_, plain))
    return columns


def columns_in(values: Sequence[Any]) -> list[ArrowColumn]:
    """Return the columns of values whose type is not known before; there is at least one."""
    return _fields_in(values) or [ArrowColumn(VALUE, lambda value: None)]


def _fields_in(values: Sequence[Any]) -> list[ArrowColumn]:
    first = next((value for value in values if value is not None), None)
    if isinstance(first, dict):
        names = dict.fromkeys(name for value in values if value is not None for name in value)
        return [ArrowColumn.of_key(name) for name in names]
    if not is_model(type(first)):
        return [ArrowColumn(VALUE, lambda value: value)]
    return [ArrowColumn(field.attribute, attrgetter(field.attribute)) for field in fields_of(type(first))]


def record_batch(columns: Sequence[ArrowColumn], values: Sequence[Any]) -> Any:
    """Return the values as rows with these columns."""
    return pa.RecordBatch.from_arrays([column.array(values) for column in columns], [column.name for column in columns])


def _type_of(annotation: Any) -> tuple[Any, bool]:
    """Return the Arrow type of an annotation, and whether Arrow reads such items as they are.

    The type is None if it has to be inferred from the items.
    """
    try:
        info = inspect.type_info(annotation)
    except TypeError:
        return None, False
    return _arrow(info), _is_plain(info)


def _is_plain(info: inspect.Type) -> bool:
    if isinstance(info, inspect.UnionType):
        return all(_is_plain(one) for one in info.types)
    return isinstance(info, PLAIN)


def _arrow(info: inspect.Type) -> Any:
    """Return the Arrow type, None if values have to tell it."""
    match info:
        case inspect.IntType():
            return pa.int64()
        case inspect.FloatType():
            return pa.float64()
        case inspect.StrType() | inspect.UUIDType():
            return pa.string()
        case inspect.BoolType():
            return pa.bool_()
        case inspect.BytesType():
            return pa.binary()
        case inspect.DateType():
            return pa.date32()
        case inspect.TimeDeltaType():
            return pa.duration("us")
        case inspect.UnionType():
            others = [one for one in info.types if not isinstance(one, inspect.NoneType)]
            return _arrow(others[0]) if len(others) == 1 else None
        case inspect.ListType() | inspect.SetType() | inspect.VarTupleType():
            item = _arrow(info.item_type)
            return None if item is None else pa.list_(item)
        case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
            types = [(field.encode_name, _arrow(field.type)) for field in info.fields]
            return None if any(type_ is None for _, type_ in types) else pa.struct(types)
        case _:
            return None
