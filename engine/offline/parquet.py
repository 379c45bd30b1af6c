"""Dumps as Parquet files.

Imported only where one is written, because it needs the extra `parquet`.

A value's fields are columns; lists and objects inside are Arrow lists and structs. The types come from the values,
batch by batch: a column may gain fields and widen from int to float. A column whose values have no common type, or one
that Parquet does not have, becomes JSON text. While the types stay the same, row groups are appended to the file; when
they change, another file is begun, and in the end all are copied into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pyarrow  # pyright: ignore[reportMissingTypeStubs]
import pyarrow.parquet  # pyright: ignore[reportMissingTypeStubs]

from ...operators.graph.store_rows import TIMES
from .entries import DumpedRow
from .plain import as_text, flat, plain
from .writers import in_order

__all__ = ["ParquetWriter"]

pa: Any = pyarrow
pq: Any = pyarrow.parquet

INSTANT: Final[Any] = pa.timestamp("ms", tz="UTC")
MOST_FIELDS: Final = 200
"""An object with more fields than this, over all rows, is a mapping rather than a record: it becomes JSON."""


class ParquetWriter:
    """Writes rows to a Parquet file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._types: dict[str, Any] = {}
        """The type of each column so far; None for JSON text."""
        self._files: list[tuple[Path, dict[str, Any]]] = []
        self._open: Any = None

    def write(self, batch: Sequence[DumpedRow]) -> None:
        columns = _columns(batch)
        before = dict(self._types)
        arrays = {name: self._array(name, values) for name, values in columns.items()}
        target = self._open if self._types == before else None
        if target is None:
            target = self._begin()
        schema = _schema(self._types)
        table = pa.table([_as(arrays.get(field.name), field.type, len(batch)) for field in schema], schema=schema)
        target.write_table(table)

    def finish(self) -> None:
        if not self._files:
            self._types = {"key": pa.string(), "task": pa.string()}
            self._begin()
        self._close()
        final = _schema({name: _filled(kind) for name, kind in self._types.items()})
        if len(self._files) == 1 and _schema(self._types) == final:
            self._files[0][0].replace(self._path)
            return
        try:
            with pq.ParquetWriter(self._path, final) as target:
                for path, types in self._files:
                    self._copy(path, types, final, target)
        finally:
            for path, _ in self._files:
                path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()

    def _begin(self) -> Any:
        self._close()
        path = self._path.with_name(f"{self._path.name}{len(self._files)}")
        self._files.append((path, dict(self._types)))
        self._open = pq.ParquetWriter(path, _schema(self._types))
        return self._open

    def _array(self, name: str, values: list[Any]) -> Any:
        """Return the values of a column, whose type is then at least as wide as before."""
        if name in TIMES:
            self._types[name] = INSTANT
            return pa.array(values, INSTANT)
        known = self._types.get(name, pa.null())
        if known is not None:
            with suppress(pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError):
                found = pa.array(values)
                wider = _wider(known, found.type)
                if not _unwritable(wider):
                    self._types[name] = wider
                    return found
        self._types[name] = None
        return pa.array([_text(value) for value in values], pa.string())

    def _copy(self, path: Path, types: dict[str, Any], final: Any, target: Any) -> None:
        with pq.ParquetFile(path) as source:
            for number in range(source.num_row_groups):
                group = source.read_row_group(number)
                arrays: list[Any] = []
                for field in final:
                    array = group[field.name].combine_chunks() if field.name in group.column_names else None
                    became_text = self._types[field.name] is None and types.get(field.name) is not None
                    if array is not None and became_text:
                        array = pa.array([_text(value) for value in array.to_pylist()], pa.string())
                    arrays.append(_as(array, field.type, group.num_rows))
                target.write_table(pa.table(arrays, schema=final))


def _columns(batch: Sequence[DumpedRow]) -> dict[str, list[Any]]:
    rows = [flat(dumped.row) for dumped in batch]
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    columns = {name: [row.get(name) for row in rows] for name in names}
    columns["task"] = [dumped.task for dumped in batch]
    return columns


def _schema(types: dict[str, Any]) -> Any:
    names = in_order(dict.fromkeys(name for name in types if name != "task"))
    return pa.schema([(name, pa.string() if types[name] is None else types[name]) for name in [*names, "task"]])


def _wider(one: Any, other: Any) -> Any:
    """Return a type for the values of both. Raises an error of Arrow's if none is."""
    fields = [pa.field("column", kind) for kind in (one, other)]
    schemas = [pa.schema([field]) for field in fields]
    return pa.unify_schemas(schemas, promote_options="permissive").field(0).type


def _unwritable(kind: Any) -> bool:
    """Return whether Parquet does not have a type, or it has too many fields."""
    if pa.types.is_struct(kind):
        return not 0 < kind.num_fields <= MOST_FIELDS or any(_unwritable(field.type) for field in kind)
    return _unwritable(kind.value_type) if pa.types.is_list(kind) else False


def _filled(kind: Any) -> Any:
    """Return a type in which what was always None is text, which every reader knows."""
    if kind is None:
        return None
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _filled(field.type)) for field in kind])
    return pa.list_(_filled(kind.value_type)) if pa.types.is_list(kind) else kind


def _as(array: Any, kind: Any, length: int) -> Any:
    """Return an array in a wider type; None is an array without values."""
    if array is None:
        return pa.nulls(length, kind)
    if array.type == kind:
        return array
    if pa.types.is_nested(kind):
        return pa.array(array.to_pylist(), kind)
    return array.cast(kind, safe=False)


def _text(value: Any) -> str | None:
    return None if value is None else as_text(plain(value))
