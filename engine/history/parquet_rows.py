"""The rows of Parquet files.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from ...operators.errors import TopologyError
from ...operators.graph.history import HistoryInput
from ..errors import Fatal, Retryable
from ..snapshots.fsspec_storage import opened as opened_storage
from ..snapshots.storage import StorageError
from .columns import FileColumns, columns_of
from .files import HistoryFiles, base_of, hive_columns, list_files, positions_of
from .history import FileHistory
from .pieces import RowGroupName
from .row_groups import row_groups
from .row_source import Listing, RowSource

__all__ = ["ParquetRows", "opened"]

pa: Final[Any] = import_module("pyarrow")
pq: Final[Any] = import_module("pyarrow.parquet")


def opened(history: FileHistory, given: HistoryInput) -> ParquetRows:
    """Return the files of a history. Raises StorageError."""
    return ParquetRows(history, given)


class ParquetRows(RowSource):
    """The files of a pattern, and the positions that `tm.parquet` has written beside them."""

    def __init__(self, history: FileHistory, given: HistoryInput) -> None:
        self._history = history
        self._given = given
        base, self._pattern = base_of(history.url)
        self._where = f"the source {given.source!r}: {history!r}"
        self._storage = opened_storage(base)
        self._found: HistoryFiles | None = None

    def listing(self) -> Listing:
        found = self._found = list_files(self._storage, self._pattern)
        if not found.paths:
            raise TopologyError(f"{self._where}: there is no such Parquet file")
        return Listing(row_groups(self._storage, self._history, self._given, found.paths), len(found.paths), None)

    def positions(self, topic: str, topic_id: str, partitions: int) -> Mapping[int, int] | None:
        assert self._found is not None
        return positions_of(self._found.logs, topic, topic_id, partitions, self._where)

    def load(self, name: RowGroupName, version: int | None) -> tuple[Any, FileColumns]:
        try:
            with self._storage.open(name.path) as raw:
                file = pq.ParquetFile(raw, pre_buffer=True)
                columns = columns_of(self._history, self._given, file.schema_arrow, name.path)
                needed = {*columns.values, columns.key, columns.time}
                table = file.read_row_group(
                    name.number, [field for field in file.schema_arrow.names if field in needed]
                )
        except StorageError as failure:
            what = f"{self._where}: {failure}"
            raise (
                Fatal(f"{what}. Files must stay while they are read") if failure.lasting else Retryable(what)
            ) from failure
        except pa.ArrowInvalid as failure:
            raise Fatal(f"{self._where}, file {name.path}: {failure}") from failure
        except OSError as failure:
            raise Retryable(f"{self._where}, file {name.path} cannot be read: {failure}") from failure
        for folder, text in hive_columns(name.path).items():
            if folder in needed and folder not in table.column_names:
                table = table.append_column(folder, pa.array([text] * table.num_rows, pa.string()))
        return table, columns
