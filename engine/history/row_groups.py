"""The row groups of files, and their event times.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, Final

from ...operators.errors import TopologyError
from ...operators.graph.history import HistoryInput
from ..snapshots.fsspec_storage import FsspecStorage
from .columns import check_columns, columns_of
from .event_times import ends_in, known_ends
from .history import FileHistory
from .pieces import RowGroup, RowGroupName

__all__ = ["row_groups"]

pa: Final[Any] = import_module("pyarrow")
pq: Final[Any] = import_module("pyarrow.parquet")
AT_A_TIME: Final = 16
"""Files whose ends are read at the same time."""


def row_groups(
    storage: FsspecStorage, history: FileHistory, given: HistoryInput, paths: Sequence[str]
) -> list[RowGroup]:
    """Return the row groups of files.

    Raises TopologyError if a file does not fit the source, and StorageError.
    """

    def of_file(path: str) -> list[RowGroup]:
        return list(_of_file(storage, history, given, path))

    with ThreadPoolExecutor(AT_A_TIME, "tidemill-history") as pool:
        found = list(pool.map(of_file, paths))
    timed = {path: groups[0].oldest is not None for path, groups in zip(paths, found, strict=True) if groups}
    if len(set(timed.values())) > 1:
        path = next(path for path, has_time in timed.items() if not has_time)
        raise TopologyError(f"the source {given.source!r}: {history!r}, file {path} has no event time, and others have")
    return [group for groups in found for group in groups]


def _of_file(storage: FsspecStorage, history: FileHistory, given: HistoryInput, path: str) -> Iterator[RowGroup]:
    with storage.open(path) as raw:
        try:
            file = pq.ParquetFile(raw)
        except pa.ArrowInvalid as failure:
            raise TopologyError(f"the source {given.source!r}: {history!r}, file {path}: {failure}") from failure
        columns = columns_of(history, given, file.schema_arrow, path)
        check_columns(given, columns)
        for number in range(file.num_row_groups):
            about = file.metadata.row_group(number)
            if about.num_rows:
                times = (None, None) if columns.time is None else _times(file, number, columns.time)
                yield RowGroup(RowGroupName(path, number), about.num_rows, *times)


def _times(file: Any, number: int, column: str) -> tuple[int | None, int | None]:
    """Return the oldest and the newest time of a row group, by its statistics or its rows."""
    about = file.metadata.row_group(number)
    place = file.schema_arrow.names.index(column)
    if about.num_columns == len(file.schema_arrow.names):
        known = about.column(place).statistics
        if known is not None and known.has_min_max:
            return known_ends(known.min, known.max, file.schema_arrow.field(column).type)
    return ends_in(file.read_row_group(number, [column]).column(0))
