"""One owner's commits to a table of Iceberg.

Imported only where it is a target, because it needs the extra `iceberg`.

Epoch and position of a task are one property of the table, in the same commit as a snapshot. pyiceberg would try a
refused commit again on the new snapshot, with the old property, and a stale owner would succeed: that is switched off.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import Any, Final

from ...operators.graph.target import TargetTask
from .iceberg import Iceberg
from .iceberg_tables import aligned, make_table, match
from .table_session import ClaimedBy, TableSession

__all__ = ["IcebergSession", "opened"]

NO_RETRIES: Final = {"commit.retry.num-retries": "0"}
_errors: Final[Any] = import_module("pyiceberg.exceptions")
_arrow_io: Final[Any] = import_module("pyiceberg.io.pyarrow")
_catalogs: Final[Any] = import_module("pyiceberg.catalog")

warnings.filterwarnings("ignore", message="Delete operation did not match any records")


def opened(target: Iceberg, task: TargetTask, epoch: str) -> IcebergSession:
    """Create or complete the table, and make `epoch` the one that may write."""
    session = IcebergSession(target, task, epoch)
    session.claim()
    return session


class IcebergSession(TableSession):
    """The session of one epoch."""

    refused = (_errors.CommitFailedException,)
    permanent = (
        *(_errors.NoSuchTableError, _errors.NoSuchNamespaceError, _errors.NotInstalledError, _errors.ValidationError),
        *(_errors.BadRequestError, _errors.ForbiddenError, _errors.UnauthorizedError, ValueError, TypeError, KeyError),
    )

    def __init__(self, target: Iceberg, task: TargetTask, epoch: str) -> None:
        where = f"step {task.sink!r}, tm.iceberg({target.table!r})"
        super().__init__(target.table, where, target.layout, task, epoch)
        self._target = target
        self._property = f"tidemill.{task}"
        self._files: list[Any] = []
        self._files_for: tuple[int, int] | None = None
        """The schema and the partition spec by which the files were written."""
        self._catalog: Any = None

    def prepare(self) -> None:
        self._catalog = _catalogs.load_catalog(**{"name": None, **self._target.catalog})
        make_table(self._catalog, self._target, self.where)

    def load(self) -> Any:
        return self._catalog.load_table(self._target.table)

    def claimed(self, table: Any) -> ClaimedBy:
        text = table.properties.get(self._property)
        if text is None:
            return ClaimedBy(None, None)
        epoch, _, position = text.partition(" ")
        return ClaimedBy(epoch, None if position == "-" else int(position))

    def write_files(self, table: Any) -> None:
        """Write the new rows, unless that has been done by this schema and partition spec."""
        written_for = (table.metadata.current_schema_id, table.metadata.default_spec_id)
        if self._files_for == written_for:
            return
        assert self.changes is not None
        rows = aligned(self.changes.rows, table, self.where)
        self._files = (
            list(_arrow_io._dataframe_to_data_files(table_metadata=table.metadata, df=rows, io=table.io))
            if rows.num_rows
            else []
        )
        self._files_for = written_for

    def forget_files(self) -> None:
        self._files, self._files_for = [], None

    def commit_to(self, table: Any, position: int | None, *, rows: bool) -> None:
        table.metadata.properties.update(NO_RETRIES)  # of this copy alone
        about = {"tidemill.task": str(self.task)}
        with table.transaction() as transaction:
            if rows and self.changes is not None and self.changes.keys is not None:
                transaction.delete(match(self.changes.keys), snapshot_properties=about)
            with transaction.update_snapshot(snapshot_properties=about).fast_append() as append:
                for file in self._files if rows else ():
                    append.append_data_file(file)
            transaction.set_properties({self._property: f"{self.epoch} {'-' if position is None else position}"})
