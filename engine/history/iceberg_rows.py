"""The rows of a table of Iceberg at one snapshot.

Imported only where such a table is a history, because it needs the extra `iceberg`. A row group is a data file:
pyiceberg reads it with the deletes of its rows, in the columns that the table has at the snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from ...operators.errors import TopologyError
from ...operators.graph.history import HistoryInput
from ..lake.iceberg import Iceberg
from .event_times import ends_in, known_ends
from .files import SinkLog, positions_of
from .history import TableHistory
from .pieces import RowGroup, RowGroupName
from .table_rows import TableFiles, TableVersion

__all__ = ["IcebergRows", "opened"]

_arrow_io: Final[Any] = import_module("pyiceberg.io.pyarrow")
_catalogs: Final[Any] = import_module("pyiceberg.catalog")
_conversions: Final[Any] = import_module("pyiceberg.conversions")
_errors: Final[Any] = import_module("pyiceberg.exceptions")
_expressions: Final[Any] = import_module("pyiceberg.expressions")

PROPERTY: Final = "tidemill."


def opened(history: TableHistory, given: HistoryInput) -> IcebergRows:
    """Return the rows of a table. It is loaded when it is needed."""
    return IcebergRows(history, given)


class IcebergRows(TableFiles):
    """The data files of a snapshot, and the positions of sinks in the table's properties."""

    lasting = (_errors.NoSuchTableError, _errors.NoSuchNamespaceError, _errors.NotInstalledError)

    def __init__(self, history: TableHistory, given: HistoryInput) -> None:
        assert isinstance(history.table, Iceberg)
        self._target = history.table
        self._table: Any = None
        self._projection: Any = None
        """The columns of the version, as a schema of Iceberg."""
        super().__init__(history, given, self._target.table)

    def positions(self, topic: str, topic_id: str, partitions: int) -> Mapping[int, int] | None:
        logs = tuple(log for name, text in self._table.properties.items() if (log := _log(name, text)) is not None)
        mine = self._history.written_by
        if mine is not None:
            logs = tuple(log for log in logs if (log.application, log.sink) == mine)
        if logs and self._history.version is not None:
            raise TopologyError(
                f"{self._where}: the positions of sinks are those of the newest snapshot, and version= may be an older "
                "one: say where the topic begins after it, with until="
            )
        if mine is not None and not logs:
            raise TopologyError(f"{self._where}: no sink {'/'.join(mine)!r} has written it")
        return positions_of(logs, topic, topic_id, partitions, self._where)

    def _opened(self, version: int | None) -> TableVersion:
        catalog: Any = _catalogs.load_catalog(**{"name": None, **self._target.catalog})
        table = self._table = catalog.load_table(self._target.table)
        if version is None:
            current = table.current_snapshot()
            if current is None:
                raise TopologyError(f"{self._where}: the table has no rows")
            version = int(current.snapshot_id)
        elif table.snapshot_by_id(version) is None:
            raise TopologyError(f"{self._where}: the table has no snapshot {version}, or it has been expired")
        scan = table.scan(snapshot_id=version)
        self._projection = scan.projection()
        schema = _arrow_io.schema_to_pyarrow(self._projection, include_field_ids=False)
        return TableVersion(version, schema, {task.file.file_path: task for task in scan.plan_files()})

    def _groups(self, at: TableVersion) -> list[RowGroup]:
        return [self._group(at, path) for path in sorted(at.files)]

    def _group(self, at: TableVersion, path: str) -> RowGroup:
        file, time = at.files[path].file, self._columns.time
        name, rows = RowGroupName(path, 0), int(file.record_count)
        if time is None or not rows:
            return RowGroup(name, rows)
        field = self._projection.find_field(time)
        bounds: tuple[dict[int, bytes], ...] = (file.lower_bounds or {}, file.upper_bounds or {})
        low, high = (each.get(field.field_id) for each in bounds)
        if low is None or high is None:
            return RowGroup(name, rows, *ends_in(self._read(at, name, [time]).column(0)))
        low, high = (_conversions.from_bytes(field.field_type, end) for end in (low, high))
        return RowGroup(name, rows, *known_ends(low, high, at.schema.field(time).type))

    def _read(self, at: TableVersion, name: RowGroupName, columns: list[str]) -> Any:
        table, schema = self._table, self._projection.select(*columns)
        scan = _arrow_io.ArrowScan(table.metadata, table.io, schema, _expressions.AlwaysTrue())
        return scan.to_table([at.files[name.path]])


def _log(name: str, text: str) -> SinkLog | None:
    """Return the position that a property of a table has; None if it is another property."""
    parts = name.removeprefix(PROPERTY).split("/")
    if not name.startswith(PROPERTY) or len(parts) != 5 or not parts[4].isdecimal():
        return None
    position = text.partition(" ")[2]
    application, sink, topic, topic_id, partition = parts
    return SinkLog(
        application, sink, topic, topic_id or "-", int(partition), 0, int(position) if position.isdecimal() else None
    )
