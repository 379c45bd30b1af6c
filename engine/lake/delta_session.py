"""One owner's commits to a table of Delta.

Imported only where it is a target, because it needs the extra `delta`.

Delta has transaction identifiers: the last version that an application wrote. The position of a task is one, and its
epoch is another, both in the commit of the rows. deltalake writes them and compares nothing, and tries a refused commit
again on the new version: that is switched off, and they are read before each commit.
"""

from __future__ import annotations

import hashlib
from importlib import import_module
from typing import Any, Final

from ...operators.errors import ConfigError
from ...operators.graph.target import TargetTask
from .columns import DELETED
from .delta import Delta
from .table_session import ClaimedBy, TableSession

__all__ = ["DeltaSession", "number_of", "opened"]

CREATED: Final = {"delta.logRetentionDuration": "interval 7 days"}
NEW: Final = "new"
OLD: Final = "old"
_delta: Final[Any] = import_module("deltalake")
_errors: Final[Any] = import_module("deltalake.exceptions")
pa: Final[Any] = import_module("pyarrow")


def opened(target: Delta, task: TargetTask, epoch: str) -> DeltaSession:
    """Create the table if there is none, and make `epoch` the one that may write."""
    session = DeltaSession(target, task, epoch)
    session.claim()
    return session


def number_of(epoch: str) -> int:
    """Return the number that stands for an epoch: versions of transactions are numbers."""
    return int(hashlib.sha256(epoch.encode()).hexdigest()[:15], 16)


class DeltaSession(TableSession):
    """The session of one epoch."""

    refused = (_errors.CommitFailedError,)
    permanent = (_errors.SchemaMismatchError, _errors.DeltaProtocolError, ValueError, TypeError)

    def __init__(self, target: Delta, task: TargetTask, epoch: str) -> None:
        where = f"step {task.sink!r}, tm.delta({target.url!r})"
        super().__init__(target.url, where, target.layout, task, number_of(epoch))
        self._target = target
        self._position_of = f"tidemill/{task}"
        self._epoch_of = f"tidemill/{task}/epoch"

    def prepare(self) -> None:
        target, options = self._target, dict(self._target.storage_options)
        if not _delta.DeltaTable.is_deltatable(target.url, storage_options=options):
            if not target.create:
                raise ConfigError(f"{self.where}: there is no table")
            _delta.DeltaTable.create(
                target.url,
                target.layout.schema,
                mode="ignore",
                partition_by=list(target.partition_by) or None,
                configuration=CREATED,
                storage_options=options,
            )
        schema = pa.schema(self.load().schema())
        lacking = [name for name in target.layout.schema.names if name not in schema.names]
        if lacking and not target.evolve:
            raise ConfigError(f"{self.where}: the table lacks the columns {', '.join(lacking)}; evolve=True adds them")
        for field in target.layout.schema:
            if field.name in schema.names and not _takes(schema.field(field.name).type, field.type):
                what = f"the column {field.name!r} is {schema.field(field.name).type}, and the rows have {field.type}"
                raise ConfigError(f"{self.where}: {what}")

    def load(self) -> Any:
        return _delta.DeltaTable(self._target.url, storage_options=dict(self._target.storage_options))

    def claimed(self, table: Any) -> ClaimedBy:
        return ClaimedBy(table.transaction_version(self._epoch_of), table.transaction_version(self._position_of))

    def commit_to(self, table: Any, position: int | None, *, rows: bool) -> None:
        about = [_delta.Transaction(self._epoch_of, self.epoch)]
        if position is not None:
            about.append(_delta.Transaction(self._position_of, position))
        options = _delta.CommitProperties(max_commit_retries=0, app_transactions=about)
        before = table.version()
        if rows and self.changes is not None and self.changes.keys is not None:
            self._merge(table, options)
        elif rows and self.changes is not None:
            _delta.write_deltalake(
                table,
                self.changes.rows,
                mode="append",
                schema_mode="merge" if self._target.evolve else None,
                commit_properties=options,
            )
        if not rows or (self._layout.given.table and table.version() == before):  # a merge that changes nothing
            by = table.metadata().partition_columns
            table.create_write_transaction([], "append", table.schema(), by, commit_properties=options)

    def _merge(self, table: Any, options: Any) -> None:
        """Replace, add and delete rows by key."""
        assert self.changes is not None
        same = " and ".join(f"{OLD}.`{name}` = {NEW}.`{name}`" for name in self._layout.key_names)
        columns = {f"`{name}`": f"{NEW}.`{name}`" for name in self._layout.schema.names}
        deleted = f"{NEW}.`{DELETED}`"
        (
            table.merge(
                self.changes.last,
                same,
                source_alias=NEW,
                target_alias=OLD,
                merge_schema=self._target.evolve,
                commit_properties=options,
            )
            .when_matched_delete(deleted)
            .when_matched_update(columns, f"not {deleted}")
            .when_not_matched_insert(columns, f"not {deleted}")
            .execute()
        )


def _takes(existing: Any, wanted: Any) -> bool:
    """Return whether a column takes values of a type."""
    if str(existing).removeprefix("large_").removesuffix("_view") == str(wanted).removeprefix("large_"):
        return True
    numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_nested)
    return any(kind(existing) and kind(wanted) for kind in numbers) or (
        pa.types.is_integer(wanted) and pa.types.is_floating(existing)
    )
