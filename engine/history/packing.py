"""Packs rows of one partition into a record, as columns, and makes values of them again.

Columns are packed whole, so no row becomes an object before its task needs it. That needs columns whose types say that
each row fits the source: text, numbers, truth values and times, without nulls and NaN unless the model takes them. Rows
with others are checked one by one, as `rows.py` does.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from importlib import import_module
from typing import Any, Final

from ...operators.graph.history import HistoryInput, HistoryRows, PackedRows, RowUnpacker
from ...operators.serdes.base import Utf8
from .columns import FileColumns
from .partitions import partitions_of
from .value_shapes import Field, ValueShape, shape_of

__all__ = ["Unpacker", "choices_of", "packable", "packed"]

np: Final[Any] = import_module("numpy")
pa: Final[Any] = import_module("pyarrow")
pc: Final[Any] = import_module("pyarrow.compute")
KEY: Final = "\0key"
TIME: Final = "\0time"
LARGEST: Final = 400_000
"""Bytes that a record may have, about: brokers take 1 MB by default."""
CERTAIN: Final = 900_000
"""Bytes above which a record is cut in two."""


def packable(given: HistoryInput, columns: FileColumns, table: Any, times: Any) -> Any:
    """Return rows as they are packed, None if they must be checked one by one."""
    shape = shape_of(given.value)
    if shape is None or list(columns.values) == ["value"]:
        return None
    found: dict[str, Any] = {}
    for name in columns.values:
        field = shape.field(name)
        if field is None:
            if shape.strict:
                return None
            continue
        column = _fitting(field, table.column(name))
        if column is None:
            return None
        found[name] = column
    if not shape.complete(found.keys()):
        return None
    places = {KEY: "", TIME: TIME}
    if columns.key is not None:
        keys = table.column(columns.key)
        if not isinstance(given.key, Utf8) or not _is_text(keys.type) or keys.null_count:
            return None
        places[KEY] = columns.key if columns.key in found else KEY
        found.setdefault(places[KEY], keys.cast(pa.string()))
    if columns.time in found and table.column(columns.time).type == pa.int64() == found[columns.time].type:
        places[TIME] = columns.time
    found.setdefault(places[TIME], times)
    return pa.table(found).combine_chunks().replace_schema_metadata(places)


def _is_text(of: Any) -> bool:
    return pa.types.is_string(of) or pa.types.is_large_string(of)


def _fitting(field: Field, column: Any) -> Any:
    """Return a column in the type in which it is packed, None if not all of it fits the field."""
    of = column.type
    if column.null_count and not field.takes_null:
        return None
    if pa.types.is_boolean(of):
        return column if field.takes(bool) else None
    if _is_text(of):
        return column.cast(pa.string()) if field.takes(str) else None
    if pa.types.is_integer(of) and of != pa.uint64():
        if field.takes(int):
            return column.cast(pa.int64())
        return column.cast(pa.float64()) if field.takes(float) and of.bit_width <= 32 else None
    if pa.types.is_timestamp(of) and of.unit != "ns":
        return column if field.takes(datetime) and _are_datetimes(column) else None
    if of in (pa.float32(), pa.float64()) and field.takes(float):
        return column.cast(pa.float64()) if pc.all(pc.is_finite(column)).as_py() is not False else None
    return None


def _are_datetimes(column: Any) -> bool:
    """Return whether all times are ones that Python has."""
    try:
        pc.min_max(column).as_py()
    except (OverflowError, ValueError):
        return False
    return True


def packed(table: Any, rows: Any, partitions: int, choices: Any) -> Iterator[PackedRows]:
    """Return packable rows as records.

    `rows` are the places in the table in order of event time, None if all rows are in that order. `choices` are the
    partitions of the rows in that order, None if any partition will do.
    """
    count = table.num_rows if rows is None else len(rows)
    if partitions > 1:
        if choices is None:
            choices = np.arange(count) * partitions // max(1, count)
        order = np.argsort(choices, kind="stable")
        rows = order if rows is None else rows[order]
        ends = np.cumsum(np.bincount(choices, minlength=partitions)).tolist()
    else:
        ends = [count]
    if rows is not None:
        table = table.take(pa.array(rows))
    each = max(1, LARGEST * count // max(1, table.nbytes))
    begin = 0
    for partition, end in enumerate(ends):
        for first in range(begin, end, each):
            yield from _records(table.slice(first, min(each, end - first)), partition)
        begin = end


def _records(table: Any, partition: int) -> Iterator[PackedRows]:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data = sink.getvalue()
    half = table.num_rows // 2
    if data.size > CERTAIN and half:
        yield from _records(table.slice(0, half), partition)
        yield from _records(table.slice(half), partition)
        return
    newest = pc.max(table.column(_place(table, TIME))).as_py()
    yield PackedRows(partition, table.num_rows, newest, data.to_pybytes())


def choices_of(table: Any, partitions: int) -> Any:
    """Return the partitions of packable rows by their keys, None if they have none."""
    key = _place(table, KEY)
    return partitions_of(table.column(key).combine_chunks(), partitions) if key else None


def _place(table: Any, what: str) -> str:
    """Return the column of the keys or of the times, "" if there is none.

    Often it is one of the values.
    """
    name: bytes = table.schema.metadata[what.encode()]
    return name.decode()


class Unpacker(RowUnpacker):
    """Makes the rows of one source."""

    def __init__(self, given: HistoryInput) -> None:
        shape = shape_of(given.value)
        self._shape = shape or ValueShape(None, ())

    def unpack(self, data: bytes) -> HistoryRows:
        with pa.ipc.open_stream(data) as stream:
            table = stream.read_all()
        count = table.num_rows
        columns = {
            name: self._made(name, column) for name, column in zip(table.column_names, table.columns, strict=True)
        }
        key = _place(table, KEY)
        values = {name: column for name, column in columns.items() if name not in (KEY, TIME)}
        keys = columns[key] if key else [None] * count
        return HistoryRows(keys, self._shape.values(values, count), columns[_place(table, TIME)])

    def _made(self, name: str, column: Any) -> list[Any]:
        found: list[Any] = column.to_pylist()
        return self._shape.moments(name, found) if pa.types.is_timestamp(column.type) else found
