"""Tables of Iceberg and Delta, as tests see them, and the records and sessions that tests write them with."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake import exceptions as delta_exceptions
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import CommitFailedException

import tidemill as tm
from tidemill.engine.targets.staging import StagingSession

__all__ = ["OPEN", "DeltaFormat", "IcebergFormat", "View", "Wider", "given", "pairs", "records", "session"]

OPEN: list[tm.TargetSession] = []
"""The sessions of the present test."""


class View(msgspec.Struct):
    user: str
    amount: float
    kind: str | None = None


class Wider(msgspec.Struct):
    user: str
    amount: float
    kind: str | None = None
    more: int | None = None


class Format:
    """One table in a place."""

    def rows(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def users(self) -> list[str]:
        return sorted(row["user"] for row in self.rows())


@dataclass(frozen=True)
class DeltaFormat(Format):
    url: str
    options: Mapping[str, str] = field(default_factory=dict[str, str])
    conflict = delta_exceptions.CommitFailedError

    def target(self, **more: Any) -> Any:
        return tm.delta(self.url, storage_options=dict(self.options), **more)

    def table(self) -> DeltaTable:
        return DeltaTable(self.url, storage_options=dict(self.options))

    def rows(self) -> list[dict[str, Any]]:
        return self.table().to_pyarrow_table().to_pylist()

    def partitions(self) -> list[str]:
        return self.table().metadata().partition_columns

    def maintain(self, at: int) -> None:
        """Append a row as another writer, and do what jobs of maintenance do."""
        write_deltalake(self.table(), other_row(at), mode="append")
        self.table().optimize.compact()
        self.table().create_checkpoint()
        self.table().vacuum(dry_run=False)


@dataclass(frozen=True)
class IcebergFormat(Format):
    catalog: Mapping[str, str]
    name = "lake.views"
    conflict = CommitFailedException

    def target(self, **more: Any) -> Any:
        return tm.iceberg(self.name, catalog=dict(self.catalog), **more)

    def loaded(self) -> Catalog:
        return load_catalog(**self.catalog)

    def table(self) -> Any:
        return self.loaded().load_table(self.name)

    def rows(self) -> list[dict[str, Any]]:
        return self.table().scan().to_arrow().to_pylist()

    def partitions(self) -> list[str]:
        names = {one.field_id: one.name for one in self.table().schema().fields}
        return [names[one.source_id] for one in self.table().spec().fields]

    def maintain(self, at: int) -> None:
        """Append a row as another writer, and do what jobs of maintenance do."""
        table = self.table()
        with table.transaction() as transaction:
            transaction.set_properties({"comment": str(at)})
        table.append(other_row(at))
        table.maintenance.expire_snapshots().older_than(dt.datetime.now()).commit()  # noqa: DTZ005


def other_row(at: int) -> pa.Table:
    return pa.table({"user": [f"other-{at}"], "amount": [1.0], "kind": ["x"]})


def given(value: Any = None, key: Any = None, *, table: bool = False, windowed: bool = False) -> tm.TargetInput:
    return tm.TargetInput(key, value, windowed, table)


def session(target: tm.Target, epoch: str | None = None, partition: int = 0) -> Any:
    """Open a task; it is closed after the test."""
    one = target.open(tm.TargetTask("app", "sink", "topic", "id", partition), epoch or uuid.uuid4().hex)
    assert isinstance(one, StagingSession)
    OPEN.append(one)
    return one


def records(*values: Any, first: int = 0) -> list[tm.Record[Any, Any]]:
    return pairs(*((None, value) for value in values), first=first)


def pairs(*given: tuple[Any, Any], first: int = 0) -> list[tm.Record[Any, Any]]:
    return [tm.Record(key, value, 1_000 + n, (), first + n) for n, (key, value) in enumerate(given)]
