"""Reads the rows of pieces.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

from ...operators.graph.history import HistoryEnd, HistoryInput, HistoryReader, HistoryRows, InvalidRow, PackedRows
from ...operators.serdes.from_plain import from_plain
from ..errors import Fatal
from ..snapshots.storage import StorageError
from .columns import FileColumns, to_ms, value_maker
from .history import RowHistory
from .packing import choices_of, packable, packed
from .pieces import Piece, PiecesEnd, RowGroupName, decoded
from .row_source import row_source

__all__ = ["PieceReader"]

np: Final[Any] = import_module("numpy")
pa: Final[Any] = import_module("pyarrow")
pc: Final[Any] = import_module("pyarrow.compute")
BATCH: Final = 2_000
"""Rows that become Python objects at a time, where they must be checked one by one."""
PACKED: Final = 20_000
"""Rows that are divided among partitions at a time."""


class _Group(NamedTuple):
    """The rows of a row group, in the order of their times."""

    table: Any
    """As they are in the file."""
    columns: FileColumns
    times: Any
    """Ascending, as NumPy's integers."""
    places: Any
    """Where the rows are in the file, None if they are in that order there."""
    packable: Any
    """The rows as they are packed, in the order of the file; None if they must be checked one by one."""
    choices: Any
    """Their partitions in the order of the file; None if any will do."""

    def rows(self, begin: int, end: int) -> Any:
        """Return the places in the file of the rows in a range."""
        return np.arange(begin, end) if self.places is None else self.places[begin:end]


class _Part(NamedTuple):
    """Rows of a group that follow each other, in a piece."""

    number: int
    group: _Group
    begin: int
    end: int


class PieceReader(HistoryReader):
    """The reader of one task.

    It keeps the row groups of the last piece, which the next one often needs.
    """

    def __init__(self, history: RowHistory, given: HistoryInput) -> None:
        self._given = given
        self._where = f"the source {given.source!r}: {history!r}"
        try:
            self._source = row_source(history, given)
        except StorageError as failure:
            raise Fatal(f"{self._where}: {failure}") from failure
        self._groups: dict[RowGroupName, _Group] = {}
        self._key: Callable[[Any], Any] = from_plain(given.key)
        self._makers: dict[tuple[str, ...], Callable[[dict[str, Any]], Any]] = {}

    def read(self, piece: bytes) -> Iterator[HistoryRows | PackedRows | InvalidRow | HistoryEnd]:
        found = decoded(piece)
        if isinstance(found, PiecesEnd):
            self._groups.clear()
            yield HistoryEnd(found.begins)
            return
        self._groups = {name: self._groups.get(name) or self._loaded(name, found) for name in found.groups}
        parts = [_chosen(number, self._groups[name], found) for number, name in enumerate(found.groups)]
        times = np.concatenate([part.group.times[part.begin : part.end] for part in parts])
        numbers = np.repeat([part.number for part in parts], [part.end - part.begin for part in parts])
        if len(parts) > 1:
            order = np.argsort(times, kind="stable")
            times, numbers = times[order], numbers[order]
        first, last = found.first, len(times) if found.count is None else min(len(times), found.first + found.count)
        passed = np.bincount(numbers[:first], minlength=len(parts)).tolist()
        parts = [part._replace(begin=part.begin + count) for part, count in zip(parts, passed, strict=True)]
        for start in range(first, last, PACKED):
            end = min(start + PACKED, last)
            mine = numbers[start:end]
            taken = np.bincount(mine, minlength=len(parts)).tolist()
            window = [part._replace(end=part.begin + count) for part, count in zip(parts, taken, strict=True) if count]
            parts = [part._replace(begin=part.begin + count) for part, count in zip(parts, taken, strict=True)]
            if found.partitions and _are_alike(window):
                yield from _packed(window, mine, found.partitions)
            else:
                yield from self._checked(found, window, mine, times[start:end])

    def _checked(
        self, piece: Piece, window: list[_Part], numbers: Any, times: Any
    ) -> Iterator[HistoryRows | InvalidRow]:
        """Return rows that become objects, one by one, a batch at a time."""
        begins = {part.number: part.begin for part in window}
        groups = {part.number: part.group for part in window}
        for start in range(0, len(numbers), BATCH):
            mine = numbers[start : start + BATCH].tolist()
            rows: dict[int, Any] = {}
            for number in set(mine):
                begin, count = begins[number], mine.count(number)
                rows[number] = groups[number].rows(begin, begin + count)
                begins[number] = begin + count
            plain = {
                number: iter(groups[number].table.take(pa.array(places)).to_pylist()) for number, places in rows.items()
            }
            places = {number: iter(found.tolist()) for number, found in rows.items()}
            columns = [(number, next(places[number]), next(plain[number])) for number in mine]
            yield from self._records(piece, groups, columns, times[start : start + BATCH].tolist())

    def _records(
        self,
        piece: Piece,
        groups: Mapping[int, _Group],
        rows: list[tuple[int, int, dict[str, Any]]],
        times: list[int],
    ) -> Iterator[HistoryRows | InvalidRow]:
        """Return rows, given by their group, their place in it and their columns."""
        done = HistoryRows([], [], [])
        for (number, place, row), time in zip(rows, times, strict=True):
            try:
                key, value = self._record(groups[number].columns, row)
            except Exception as error:  # whatever a serde or a model raises
                if done.keys:
                    yield done
                    done = HistoryRows([], [], [])
                name = piece.groups[number]
                where = f"file {name.path}, row group {name.number}, row {place}"
                yield InvalidRow(row, time, ValueError(f"{where}: {error}"))
                continue
            done.keys.append(key)
            done.values.append(value)
            done.timestamps.append(time)
        if done.keys:
            yield done

    def _record(self, columns: FileColumns, row: dict[str, Any]) -> tuple[Any, Any]:
        names = columns.values
        make = self._makers.get(names)
        if make is None:
            make = self._makers[names] = value_maker(self._given.value, names)
        key = None if columns.key is None else row[columns.key]
        value = row if len(row) == len(names) else {name: row[name] for name in names}
        return None if key is None else self._key(key), make(value)

    def _loaded(self, name: RowGroupName, piece: Piece) -> _Group:
        table, columns = self._source.load(name, piece.version)
        times, places = np.zeros(table.num_rows, np.int64), None
        if columns.time is not None:
            found = to_ms(table.column(columns.time))
            if found.null_count:
                row = pc.index(pc.is_null(found), True).as_py()
                where = f"file {name.path}, row group {name.number}, row {row}"
                raise Fatal(f"{self._where}, {where}: the event time {columns.time!r} is null")
            times = found.to_numpy()
        rows = packable(self._given, columns, table, pa.array(times)) if piece.partitions else None
        choices = None if rows is None else choices_of(rows, piece.partitions)
        if columns.time is not None and columns.time not in {*columns.values, columns.key}:
            table = table.drop_columns([columns.time])
        if len(times) > 1 and bool((times[1:] < times[:-1]).any()):
            places = np.argsort(times, kind="stable")
            times = times[places]
        return _Group(table, columns, times, places, rows, choices)


def _are_alike(window: list[_Part]) -> bool:
    """Return whether rows can be packed together: their files may have other columns."""
    tables = [part.group.packable for part in window]
    return all(table is not None and table.schema.equals(tables[0].schema, check_metadata=True) for table in tables)


def _chosen(number: int, group: _Group, piece: Piece) -> _Part:
    """Return the rows of a group that are in the range of a piece."""
    if piece.since is None:
        return _Part(number, group, 0, len(group.times))
    begin, end = np.searchsorted(group.times, [piece.since, piece.before]).tolist()
    return _Part(number, group, begin, end)


def _packed(window: list[_Part], numbers: Any, partitions: int) -> Iterator[PackedRows]:
    """Return rows as records; `numbers` are their groups, in their order."""
    if len(window) == 1:
        [(_, group, begin, end)] = window
        if group.places is None:
            choices = None if group.choices is None else group.choices[begin:end]
            yield from packed(group.packable.slice(begin, end - begin), None, partitions, choices)
        else:
            places = group.places[begin:end]
            choices = None if group.choices is None else group.choices[places]
            yield from packed(group.packable, places, partitions, choices)
        return
    tables = [part.group.packable.take(pa.array(part.group.rows(part.begin, part.end))) for part in window]
    rows = np.empty(len(numbers), np.int64)
    rows[np.argsort(numbers, kind="stable")] = np.arange(len(numbers))
    with_keys = all(part.group.choices is not None for part in window)
    if with_keys:
        found = [part.group.choices[part.group.rows(part.begin, part.end)] for part in window]
        yield from packed(pa.concat_tables(tables), rows, partitions, np.concatenate(found)[rows])
    else:
        yield from packed(pa.concat_tables(tables), rows, partitions, None)
