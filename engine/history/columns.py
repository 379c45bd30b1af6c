"""Which columns of files are the key, the time and the value of records.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import msgspec

from ...operators.errors import TopologyError
from ...operators.graph.history import HistoryInput
from ...operators.serdes.base import Packed, Raw, Serde, Utf8, Uuid
from ...operators.serdes.from_plain import from_plain
from ...operators.suggest import did_you_mean
from .files import hive_columns
from .history import RowHistory

__all__ = ["FileColumns", "check_columns", "columns_of", "to_ms", "value_maker"]

pa: Final[Any] = import_module("pyarrow")
pc: Final[Any] = import_module("pyarrow.compute")
SINGLE: Final = (Utf8, Raw, Packed, Uuid)
"""Serdes whose values are no objects."""


@dataclass(frozen=True)
class FileColumns:
    """The columns of one file."""

    key: str | None
    time: str | None
    values: tuple[str, ...]


def columns_of(history: RowHistory, given: HistoryInput, schema: Any, path: str) -> FileColumns:
    """Return the columns of a file with a schema. Raises TopologyError if one is missing."""
    names = [*schema.names, *(name for name in hive_columns(path) if name not in schema.names)]
    where = f"the source {given.source!r}: {history!r}, file {path}"

    def there(name: str, what: str) -> str:
        if name not in names:
            hint = did_you_mean(name, names, listing=False)
            raise TopologyError(
                f"{where}: there is no column {name!r}, the {what}{hint}; its columns are {', '.join(names)}"
            )
        return name

    key = there(history.key, "key") if history.key else "key" if "key" in names else None
    time = there(history.timestamp, "event time") if history.timestamp else _time_column(schema)
    if time is None and not given.own_time:
        raise TopologyError(
            f"{where}: it is not clear which column has the event time: give it, as in "
            f"history={history.call}, timestamp={names[0]!r}), or give the stream timestamp=, which gets "
            f"it from the value; its columns are {', '.join(names)}"
        )
    if time is not None and (time not in schema.names or not _is_time(schema.field(time).type)):
        of = schema.field(time).type if time in schema.names else "a folder"
        raise TopologyError(
            f"{where}: the column {time!r} is {of}, and an event time is a timestamp, a date or an int64 of ms"
        )
    if history.columns is not None:
        return FileColumns(key, time, tuple(there(name, "value") for name in history.columns))
    rest = tuple(name for name in names if name not in (key, time))
    if rest == ("value",) or isinstance(given.value, SINGLE):
        return FileColumns(key, time, ("value",) if "value" in rest else rest)
    taken = {None if history.key else key, None if history.timestamp else time if time == "timestamp" else None}
    return FileColumns(key, time, tuple(name for name in names if name not in taken) or tuple(names))


def _time_column(schema: Any) -> str | None:
    if "timestamp" in schema.names:
        return "timestamp"
    times = [field.name for field in schema if pa.types.is_timestamp(field.type)]
    return times[0] if len(times) == 1 else None


def _is_time(of: Any) -> bool:
    return pa.types.is_timestamp(of) or pa.types.is_date(of) or pa.types.is_int64(of)


def to_ms(column: Any) -> Any:
    """Return a column of event times as integers of ms; those without a time zone are in UTC."""
    if pa.types.is_int64(column.type):
        return column
    if pa.types.is_timestamp(column.type):
        by = {"s": (1000, True), "ms": (1, True), "us": (1000, False), "ns": (1_000_000, False)}[column.type.unit]
        number = column.cast(pa.int64())
        return pc.multiply(number, by[0]) if by[1] else _floored(number, by[0])
    return column.cast(pa.timestamp("ms")).cast(pa.int64())


def _floored(number: Any, by: int) -> Any:
    """Return a column divided by a number, rounded down also before 1970."""
    whole = pc.divide(number, by)
    below = pc.less(number, pc.multiply(whole, by))
    return pc.subtract(whole, below.cast(pa.int64()))


def value_maker(serde: Serde[Any], columns: Sequence[str]) -> Callable[[dict[str, Any]], Any]:
    """Return a function from a row to a value of a serde; it raises ValueError."""
    make = from_plain(serde)
    if isinstance(serde, SINGLE):
        if len(columns) != 1:
            raise TopologyError(
                f"{serde!r} reads a single value, and the rows have the columns {', '.join(columns)}: give "
                "tm.history(columns=) the one that is the value"
            )
        [name] = columns
        return lambda row: make(row[name])
    if list(columns) == ["value"]:
        return lambda row: _of_json(make, row)
    return make


def _of_json(make: Callable[[Any], Any], row: dict[str, Any]) -> Any:
    """Return the value of a row of one column: JSON, as `tm.parquet` writes it, or a field."""
    try:
        return make(msgspec.json.decode(row["value"]) if isinstance(row["value"], str) else row["value"])
    except (ValueError, TypeError):
        return make(row)


def check_columns(given: HistoryInput, columns: FileColumns) -> None:
    """Raise TopologyError if the serde of the source cannot read values of the columns."""
    value_maker(given.value, columns.values)
