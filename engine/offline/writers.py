"""Writers of dumps as JSON lines and CSV; `parquet.py` has that of Parquet.

A file is written under another name, and gets its own when it is complete. Memory does not depend on the number of
rows: the columns of a CSV file are known only after the last row, so its rows are kept in a temporary file until then.
"""

from __future__ import annotations

import csv
import glob
import sys
import tempfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol

import msgspec

from ..errors import ConfigError
from .entries import DumpedRow
from .plain import as_text, flat, nested

__all__ = ["FORMATS", "Format", "RowWriter", "format_of", "writing"]

Format = Literal["jsonl", "csv", "parquet"]
FORMATS: Final[tuple[Format, ...]] = ("jsonl", "csv", "parquet")


class RowWriter(Protocol):
    """Writes rows."""

    def write(self, batch: Sequence[DumpedRow]) -> None:
        """Write some rows."""
        ...

    def finish(self) -> None:
        """Write what is left. Not called after a failure."""
        ...


def format_of(output: Path | None, given: Format | None) -> Format:
    """Return the format that was given, or else that of the file's name; JSON lines by default."""
    suffix = "" if output is None else output.suffix.removeprefix(".").lower()
    named: dict[str, Format] = {known: known for known in FORMATS}
    return given or named.get(suffix, "jsonl")


@contextmanager
def writing(form: Format, output: Path | None) -> Generator[RowWriter, None, None]:
    """Write rows to a file, or to standard output.

    Raises ConfigError for Parquet without a file or without its package, and if the file cannot be written.
    """
    if form == "parquet":
        if output is None:
            raise ConfigError("Parquet is not written to standard output: give a file with --output")
        if find_spec("pyarrow") is None:
            raise ConfigError(
                "Parquet needs the package pyarrow, which is not installed: pip install 'tidemill[parquet]'"
            )
    with ExitStack() as closing:
        try:
            if output is None:
                yield from _written(form, sys.stdout, closing)
                sys.stdout.flush()
                return
            beside = output.with_name(f".{output.name}.part")
            closing.callback(_remove, beside)
            if form == "parquet":
                writer: RowWriter = import_module(f"{__package__}.parquet").ParquetWriter(beside)
                yield writer
                writer.finish()
            else:
                with beside.open("w", encoding="utf-8", newline="") as file:
                    yield from _written(form, file, closing)
            beside.replace(output)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise ConfigError(f"{output or 'the output'} cannot be written: {error.strerror or error}") from error


def _remove(beside: Path) -> None:
    """Remove what a failure has left."""
    for path in beside.parent.glob(f"{glob.escape(beside.name)}*"):
        path.unlink(missing_ok=True)


def _written(form: Format, target: IO[str], closing: ExitStack) -> Iterator[RowWriter]:
    writer = JsonLines(target) if form == "jsonl" else Csv(target, closing)
    yield writer
    writer.finish()


class JsonLines:
    """One JSON object per line."""

    def __init__(self, target: IO[str]) -> None:
        self._target = target

    def write(self, batch: Sequence[DumpedRow]) -> None:
        self._target.write("".join([f"{as_text(line(row))}\n" for row in batch]))

    def finish(self) -> None:
        self._target.flush()


def line(dumped: DumpedRow) -> dict[str, Any]:
    """Return a row with its place."""
    place = {"task": dumped.task} | ({"worker": dumped.worker} if dumped.worker else {})
    return nested(dumped.row) | place


class Csv:
    """Comma-separated values after a line of names; lists and objects are JSON text."""

    def __init__(self, target: IO[str], closing: ExitStack) -> None:
        self._target = target
        self._rows: IO[bytes] = closing.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - closed with the others
        self._names: dict[str, None] = {}

    def write(self, batch: Sequence[DumpedRow]) -> None:
        for dumped in batch:
            columns = flat(dumped.row)
            self._names.update(dict.fromkeys(columns))
            columns["task"] = dumped.task
            self._rows.write(msgspec.json.encode(columns) + b"\n")

    def finish(self) -> None:
        names = [*in_order(self._names), "task"]
        lines = csv.writer(_Lines(self._target))
        lines.writerow(names)
        self._rows.seek(0)
        for row in self._rows:
            columns = msgspec.json.decode(row)
            try:
                lines.writerow([_field(columns.get(name)) for name in names])
            except csv.Error as error:  # a null character, before Python 3.11
                raise ConfigError(f"CSV cannot hold the row {columns!r}: {error}; use another --format") from error
        self._target.flush()


class _Lines:
    """A file whose lines end with a line feed, and whose carriage returns are in quotes.

    Before Python 3.13, `csv` quotes only the characters of its line terminator.
    """

    def __init__(self, target: IO[str]) -> None:
        self._target = target

    def write(self, line: str, /) -> int:
        return self._target.write(line.removesuffix("\r\n") + "\n")


def in_order(names: Iterable[str]) -> list[str]:
    """Return columns in the order in which they are shown: keys, others, values, timestamp."""

    def place(name: str) -> int:
        if name == "key" or name.startswith("key_"):
            return 0
        if name in ("window_start", "window_end"):
            return 1
        if name == "value" or name.startswith("value_"):
            return 3
        return 4 if name == "timestamp" else 2

    return sorted(names, key=place)


def _field(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        return as_text(value)
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value
