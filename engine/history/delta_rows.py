"""The rows of a table of Delta at one version.

Imported only where such a table is a history, because it needs the extra `delta`. Row groups are those of its files;
deltalake knows which files a version has, and the columns that are in their folders.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import Any, Final

from ...operators.errors import TopologyError
from ...operators.graph.history import HistoryInput
from ...operators.graph.target import TargetTask
from ..lake.delta import Delta
from .event_times import ends_in, known_ends
from .files import SinkLog, positions_of
from .history import TableHistory
from .pieces import RowGroup, RowGroupName
from .table_rows import TableFiles, TableVersion

__all__ = ["DeltaRows", "opened"]

_delta: Final[Any] = import_module("deltalake")
_errors: Final[Any] = import_module("deltalake.exceptions")

AT_A_TIME: Final = 16
"""Files whose ends are read at the same time."""


def opened(history: TableHistory, given: HistoryInput) -> DeltaRows:
    """Return the rows of a table. It is loaded when it is needed."""
    return DeltaRows(history, given)


class DeltaRows(TableFiles):
    """The files of a version, and the positions that a sink has as transaction identifiers."""

    lasting = (_errors.TableNotFoundError, _errors.DeltaProtocolError)

    def __init__(self, history: TableHistory, given: HistoryInput) -> None:
        assert isinstance(history.table, Delta)
        self._target = history.table
        self._table: Any = None
        super().__init__(history, given, self._target.url)

    def positions(self, topic: str, topic_id: str, partitions: int) -> Mapping[int, int] | None:
        if self._history.written_by is None:
            raise TopologyError(
                f"{self._where}: say where the topic begins after it: with tm.history(written_by='application/step') "
                "if a sink has written it from this topic, else with until= (a datetime, or the first offset of each "
                "partition)"
            )
        application, sink = self._history.written_by
        logs: list[SinkLog] = []
        for partition in range(partitions):
            name = f"tidemill/{TargetTask(application, sink, topic, topic_id, partition)}"
            position, epoch = (self._table.transaction_version(one) for one in (name, f"{name}/epoch"))
            if epoch is not None:
                logs.append(SinkLog(application, sink, topic, topic_id or "-", partition, 0, position))
        if not logs:
            raise TopologyError(
                f"{self._where}: no sink {application}/{sink} has written it from this topic {topic!r}: say where the "
                "topic begins after it, with until="
            )
        return positions_of(tuple(logs), topic, topic_id, partitions, self._where)

    def _opened(self, version: int | None) -> TableVersion:
        options = dict(self._target.storage_options)
        self._table = _delta.DeltaTable(self._target.url, storage_options=options)
        if version is not None and version > (newest := self._table.version()):
            raise TopologyError(f"{self._where}: the table has no version {version}, the newest is {newest}")
        if version is not None:
            self._table = _delta.DeltaTable(self._target.url, version=version, storage_options=options)
        dataset = self._table.to_pyarrow_dataset()
        files = {fragment.path: fragment for fragment in dataset.get_fragments()}
        return TableVersion(int(self._table.version()), dataset.schema, files)

    def _groups(self, at: TableVersion) -> list[RowGroup]:
        with ThreadPoolExecutor(AT_A_TIME, "tidemill-history") as pool:
            found = pool.map(partial(self._groups_of, at), sorted(at.files))
            return [group for groups in found for group in groups]

    def _groups_of(self, at: TableVersion, path: str) -> list[RowGroup]:
        time = self._columns.time
        groups: list[RowGroup] = []
        for about in at.files[path].row_groups:
            name, rows = RowGroupName(path, int(about.id)), int(about.num_rows)
            if time is None:
                groups.append(RowGroup(name, rows))
                continue
            statistics: dict[str, Any] = about.statistics or {}
            known = statistics.get(time)
            if known is not None:
                ends = known_ends(known["min"], known["max"], at.schema.field(time).type)
            else:
                ends = ends_in(self._read(at, name, [time]).column(0))
            groups.append(RowGroup(name, rows, *ends))
        return groups

    def _read(self, at: TableVersion, name: RowGroupName, columns: list[str]) -> Any:
        part = at.files[name.path].subset(row_group_ids=[name.number])
        return part.to_table(schema=at.schema, columns=columns)
