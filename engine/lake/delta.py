"""A table of Delta as a target: events are appended, rows of tables are kept by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any, ClassVar

from ...operators.errors import TopologyError
from ...operators.graph.target import TargetInput, TargetTask
from ...operators.time.durations import Duration
from ..config.sizes import Size
from ..config.snapshot_urls import checked_url
from ..errors import ConfigError
from ..targets.staging import Roll, StagingSession, StagingTarget
from .arguments import check_packages, check_partition_columns, names_of, parse_roll
from .layout import LakeColumns

__all__ = ["Delta", "delta"]


@dataclass(frozen=True)
class Delta(StagingTarget):
    """A table of Delta. `delta` makes it."""

    kind: ClassVar[str] = "delta"

    url: str
    partition_by: tuple[str, ...]
    columns: LakeColumns
    create: bool
    evolve: bool
    storage_options: Mapping[str, str] = field(compare=False)
    roll: Roll
    layout: Any = None
    """The columns of the rows, when it is known what the sink reads."""

    def __repr__(self) -> str:
        return f"delta({self.url!r})"  # options may have a password

    def accept(self, given: TargetInput) -> Delta:
        where = f"tm.delta({self.url!r})"
        layout = self.columns.layout(given, where)
        check_partition_columns(self.partition_by, layout.schema.names, where)
        return replace(self, layout=layout)

    def open(self, task: TargetTask, epoch: str) -> StagingSession:
        module = import_module(f"{__package__}.delta_session")
        session: StagingSession = module.opened(self, task, epoch)
        return session


def delta(
    url: str,
    *,
    partition_by: Sequence[str] | str = (),
    columns: Mapping[str, Any] | None = None,
    key: Mapping[str, Any] | None = None,
    timestamp: str | None = None,
    create: bool = True,
    evolve: bool = True,
    storage_options: Mapping[str, str] | None = None,
    roll: Duration = "1m",
    roll_size: Size = "256MiB",
) -> Delta:
    """Return a table of Delta as the target of a sink: each record is written exactly once.

    A stream is appended. A table is kept as it is: rows are inserted, updated or deleted by key, and with windows by
    `window_start` and `window_end` too; files with rows that change are written again. The position is a transaction
    identifier of the table, in the same commit.

    Args:
        url: Where the table is: file://, s3://, gs:// or abfs://.
        partition_by: The columns by which the table is partitioned when it is created.
        columns: Names and types of the columns for the value, as for `tm.parquet`.
        key: The same for the key. Without it, a table has a column `key`, or the fields of a key's model.
        timestamp: The name of a column for the event time.
        create: Whether to create the table if it does not exist.
        evolve: Whether to add columns that the table lacks. Otherwise they are an error.
        storage_options: The options of the store, as for deltalake; without it, those of the environment.
        roll: How long rows are collected before a commit, at most.
        roll_size: How many bytes are collected at most, per partition of the topic, as they take in memory.

    Raises:
        TopologyError: An argument is wrong, columns have the same name, or a package is not installed.

    Example:
        >>> lake = tm.delta("s3://bucket/orders", columns={"item": "string", "pieces": "int64"})
        >>> orders.sink(lake).named("orders-in-lake")
    """
    check_packages("delta", "pyarrow", "deltalake")
    try:
        place = checked_url(url, "tm.delta(url)")
    except ConfigError as error:
        raise TopologyError(str(error)) from error
    if place.startswith("hdfs:"):
        raise TopologyError(f"tm.delta({url!r}): tables in HDFS are not supported; tm.parquet writes files there")
    return Delta(
        place,
        names_of(partition_by),
        LakeColumns.stated("tm.delta", columns, key, timestamp),
        create,
        evolve,
        dict(storage_options or {}),
        parse_roll("delta", roll, roll_size),
    )
