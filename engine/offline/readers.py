"""Readers of files with the rows of a store, in the formats that `state dump` writes.

A row has `key` or columns `key_<field>`, `value` or `value_<field>`, `timestamp`, and what else its kind of store has:
`window_start` and `window_end`, `map_key`, `expires`. Where a row was dumped from is of no matter.
"""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from ...operators.graph.store_rows import TIMES, StoreRow
from ...operators.serdes.from_plain import CellText
from ..errors import ConfigError
from .writers import Format

__all__ = ["reading"]

PLACE: Final = ("task", "worker")
"""Columns that say where a row was."""
LONGEST = 1 << 27
"""Characters of a cell in a CSV file."""


@contextmanager
def reading(form: Format, path: Path) -> Generator[Iterator[tuple[str, StoreRow]]]:
    """Read the rows of a file; each comes with its place in the file, in words.

    Keys, values and columns are in JSON types, cells of a CSV file `CellText`. Raises ConfigError.
    """
    try:
        if form == "parquet":
            yield _parquet(path)
        elif form == "csv":
            with path.open(encoding="utf-8", newline="") as lines:
                yield _csv(lines)
        else:
            with path.open("rb") as lines:
                yield _jsonl(lines)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _jsonl(lines: Iterable[bytes]) -> Iterator[tuple[str, StoreRow]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield f"line {number}", _row(decoder.decode(line))
            except (msgspec.DecodeError, ValueError) as error:
                raise ConfigError(f"line {number}: {error}") from error


def _csv(lines: Iterable[str]) -> Iterator[tuple[str, StoreRow]]:
    csv.field_size_limit(LONGEST)
    table = csv.DictReader(lines)
    for cells in table:
        where = f"line {table.line_num}"
        if None in cells or None in cells.values():
            raise ConfigError(f"{where}: it has more or fewer cells than the first line")
        yield where, _gathered(where, {name: CellText(cell) for name, cell in cells.items() if cell or name == "key"})


def _parquet(path: Path) -> Iterator[tuple[str, StoreRow]]:
    if find_spec("pyarrow") is None:
        raise ConfigError("Parquet needs the package pyarrow, which is not installed: pip install 'tidemill[parquet]'")
    library: Any = import_module("pyarrow.parquet")
    number = 0
    try:
        with library.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for cells in batch.to_pylist():
                    number += 1
                    yield f"row {number}", _gathered(f"row {number}", _present(cells))
    except import_module("pyarrow").ArrowInvalid as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error


def _present(cells: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cells that are not null, with times in ms."""
    return {
        name: round(cell.timestamp() * 1000) if name in TIMES and isinstance(cell, datetime) else cell
        for name, cell in cells.items()
        if cell is not None
    }


def _gathered(where: str, cells: Mapping[str, Any]) -> StoreRow:
    """Return the row of some cells: those of `key_<field>` and `value_<field>` become objects."""
    whole: dict[str, Any] = {}
    for name, cell in cells.items():
        outer, underscore, field = name.partition("_")
        if underscore and outer in ("key", "value"):
            fields: Any = whole.setdefault(outer, {})
            if not isinstance(fields, dict):
                raise ConfigError(f"{where}: it has a column {outer} and columns {outer}_<field>")
            cast("dict[str, Any]", fields)[field] = cell
        elif name in whole:
            raise ConfigError(f"{where}: it has a column {name} and columns {name}_<field>")
        else:
            whole[name] = cell
    try:
        return _row(whole)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _row(cells: Mapping[str, Any]) -> StoreRow:
    """Return a row. Raises ValueError."""
    named = ("key", "value", "timestamp", *PLACE)
    timestamp = cells.get("timestamp")
    if isinstance(timestamp, str):
        with suppress(ValueError):
            timestamp = int(timestamp)
    if timestamp is not None and type(timestamp) is not int:
        raise ValueError(f"timestamp is {timestamp!r}: it is in ms since 1970")
    columns = {name: cell for name, cell in cells.items() if name not in named}
    return StoreRow(cells.get("key"), cells.get("value", msgspec.UNSET), timestamp, columns)
