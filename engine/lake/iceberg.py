"""A table of Iceberg as a target: events are appended, rows of tables are kept by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, ClassVar

from ...operators.errors import TopologyError
from ...operators.graph.target import TargetInput, TargetTask
from ...operators.time.durations import Duration
from ..config.sizes import Size
from ..targets.staging import Roll, StagingSession, StagingTarget
from .arguments import check_packages, names_of, parse_roll
from .iceberg_partitions import PartitionField, partition_fields
from .layout import LakeColumns

__all__ = ["Iceberg", "iceberg"]


@dataclass(frozen=True)
class Iceberg(StagingTarget):
    """A table of Iceberg. `iceberg` makes it."""

    kind: ClassVar[str] = "iceberg"

    table: str
    catalog: Mapping[str, Any] = field(compare=False)
    partition_by: tuple[str, ...]
    columns: LakeColumns
    create: bool
    evolve: bool
    roll: Roll
    layout: Any = None
    """The columns of the rows, when it is known what the sink reads."""
    partitions: tuple[PartitionField, ...] = ()

    def __repr__(self) -> str:
        return f"iceberg({self.table!r})"  # a catalog may have a password

    def accept(self, given: TargetInput) -> Iceberg:
        where = f"tm.iceberg({self.table!r})"
        layout = self.columns.layout(given, where)
        return replace(self, layout=layout, partitions=partition_fields(self.partition_by, layout.schema.names, where))

    def open(self, task: TargetTask, epoch: str) -> StagingSession:
        module = import_module(f"{__package__}.iceberg_session")
        session: StagingSession = module.opened(self, task, epoch)
        return session


def iceberg(
    table: str,
    *,
    catalog: Mapping[str, Any] | str,
    partition_by: Sequence[str] | str = (),
    columns: Mapping[str, Any] | None = None,
    key: Mapping[str, Any] | None = None,
    timestamp: str | None = None,
    create: bool = True,
    evolve: bool = True,
    roll: Duration = "1m",
    roll_size: Size = "256MiB",
) -> Iceberg:
    """Return a table of Iceberg as the target of a sink: each record is written exactly once.

    A stream is appended. A table is kept as it is: rows are inserted, updated or deleted by key, and with windows by
    `window_start` and `window_end` too; files with rows that change are written again. The position is a property of
    the table, in the same commit.

    Args:
        table: The name of the table with its namespace, such as "lake.views".
        catalog: The properties of the catalog as for pyiceberg, such as `{"type": "rest", "uri": ...}`, with its name
            as `name`; or the name of one that pyiceberg's own settings have.
        partition_by: How the table is partitioned when it is created: names of columns, and `day(at)`, `month(at)`,
            `bucket(16, user)` and so on. Later, files are written by the partition spec that the table has then.
        columns: Names and types of the columns for the value, as for `tm.parquet`.
        key: The same for the key. Without it, a table has a column `key`, or the fields of a key's model.
        timestamp: The name of a column for the event time.
        create: Whether to create the namespace and the table if they do not exist.
        evolve: Whether to add columns that the table lacks, and to widen types. Otherwise they are an error.
        roll: How long rows are collected before a commit, at most.
        roll_size: How many bytes are collected at most, per partition of the topic, as they take in memory.

    Raises:
        TopologyError: An argument is wrong, columns have the same name, or a package is not installed.

    Example:
        >>> catalog = {"name": "lake", "type": "sql", "uri": "sqlite:///lake.db", "warehouse": "file:///lake"}
        >>> lake = tm.iceberg("lake.orders", catalog=catalog, columns={"item": "string", "pieces": "int64"})
        >>> orders.sink(lake).named("orders-in-lake")
    """
    check_packages("iceberg", "pyarrow", "pyiceberg")
    if not isinstance(table, str) or not all(table.split(".")) or "." not in table:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TopologyError(f"tm.iceberg(table=) takes a name with a namespace, such as 'lake.views', not {table!r}")
    return Iceberg(
        table,
        {"name": catalog} if isinstance(catalog, str) else dict(catalog),
        names_of(partition_by),
        LakeColumns.stated("tm.iceberg", columns, key, timestamp),
        create,
        evolve,
        parse_roll("iceberg", roll, roll_size),
    )
