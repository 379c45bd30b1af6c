"""Parquet files in a folder as a target: each row in one file, each file written at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, ClassVar

from ...operators.errors import TopologyError
from ...operators.graph.target import TargetInput, TargetTask
from ...operators.time.durations import Duration
from ..config.sizes import Size, parse_size
from ..config.snapshot_urls import checked_url, missing_package
from ..errors import ConfigError
from ..targets.staging import Roll, StagingSession, StagingTarget
from .arguments import check_packages, check_partition_columns, names_of, parse_roll
from .layout import LakeColumns

__all__ = ["Parquet", "parquet"]


@dataclass(frozen=True)
class Parquet(StagingTarget):
    """A folder of Parquet files. `tm.parquet` makes it.

    Example:
        >>> views = tm.parquet("file:///lake/views", partition_by=["kind"])
    """

    kind: ClassVar[str] = "parquet"

    url: str
    partition_by: tuple[str, ...]
    columns: LakeColumns
    compression: str
    roll: Roll
    layout: Any = None
    """The columns of the rows, when it is known what the sink reads."""

    def __repr__(self) -> str:
        return f"parquet({self.url!r})"

    def accept(self, given: TargetInput) -> Parquet:
        where = f"tm.parquet({self.url!r})"
        if given.table:
            raise TopologyError(
                f"{where}: the rows of a table change, those of files do not. .to_stream() writes each change, and a "
                "windowed table with .emit('close') has final results; tm.iceberg and tm.delta keep rows by key"
            )
        layout = self.columns.layout(given, where)
        names = layout.schema.names
        check_partition_columns(self.partition_by, names, where)
        if len(set(self.partition_by)) == len(names):
            raise TopologyError(f"{where}: partition_by leaves no column for the files")
        for name in self.partition_by:
            of = str(layout.schema.field(name).type)
            if not of.startswith(("string", "int", "uint", "bool", "date32")):
                raise TopologyError(f"{where}: partition_by={name!r}: folders are made of texts, ints, dates and bools")
        return replace(self, layout=layout)

    def open(self, task: TargetTask, epoch: str) -> StagingSession:
        module = import_module(f"{__package__}.parquet_session")
        session: StagingSession = module.opened(self, task, epoch)
        return session

    def compact(self, *, smaller_than: Size = "32MiB", into: Size = "128MiB") -> int:
        """Join small files of the folder into larger ones; return how many were replaced.

        Rows are not changed, and what is written meanwhile is not touched. The new file of a partition appears before
        those that it replaces are deleted, so a query that runs in this moment may read rows twice. A compaction that
        ends in between is completed by the next one. It may be called from any process, while the program runs.

        Args:
            smaller_than: The size from which on files stay as they are.
            into: The size of new files, at most and about.

        Raises:
            ConfigError: A size is none, or the files cannot be read or written.
            TargetUnavailable: The files cannot be read or written now.

        Example:
            >>> views = tm.parquet("file:///lake/views", partition_by=["kind"])
            >>> count = views.compact(smaller_than="64MiB", into="512MiB")
        """
        module = import_module(f"{__package__}.compaction")
        count: int = module.compact(
            self.url,
            parse_size(smaller_than, "compact(smaller_than=)", at_least=1),
            parse_size(into, "compact(into=)", at_least=1),
            self.compression,
        )
        return count


def parquet(
    url: str,
    *,
    partition_by: Sequence[str] | str = (),
    columns: Mapping[str, Any] | None = None,
    key: Mapping[str, Any] | None = None,
    timestamp: str | None = None,
    roll: Duration = "5m",
    roll_size: Size = "256MiB",
    compression: str = "zstd",
) -> Parquet:
    """Return a folder of Parquet files as the target of a sink: each record is in one file.

    The folder is a plain dataset for Spark, DuckDB, pyarrow and the like. Files that are not complete have names that
    these do not read, and the positions are in the folder `_tidemill`.

    Args:
        url: The folder: file://, hdfs://, s3://, gs:// or abfs://.
        partition_by: The columns whose values become folders, such as `kind=buy/`.
        columns: Names and types of the columns for the value, read from its fields: types of Arrow, such as "int64" or
            `pyarrow.decimal128(12, 2)`, or "json" for text. Without it they follow from the model of the value, such as
            `tm.json(Model)`; if there is none, the value is one column `value` of JSON as text.
        key: The same for the key, which has no column without it. With windows it adds `window_start` and `window_end`.
        timestamp: The name of a column for the event time.
        roll: How long rows are collected before a file is written, at most.
        roll_size: How many bytes are collected at most, per partition of the topic, as they take in memory. They are
            collected in a temporary file.
        compression: The codec of the files: "zstd", "snappy", "gzip" or "none".

    Raises:
        TopologyError: An argument is wrong, columns have the same name, or a package is not installed.

    Example:
        >>> lake = tm.parquet("file:///lake/orders", columns={"item": "string", "pieces": "int64"})
        >>> orders.sink(lake).named("orders-in-lake")
    """
    try:
        place = checked_url(url, "tm.parquet(url)")
        missing = missing_package(place)
    except ConfigError as error:
        raise TopologyError(str(error)) from error
    if missing:
        raise TopologyError(missing)
    check_packages("parquet", "pyarrow")
    if compression not in ("zstd", "snappy", "gzip", "none"):
        raise TopologyError(f"tm.parquet(compression={compression!r}): it is one of zstd, snappy, gzip, none")
    return Parquet(
        place,
        names_of(partition_by),
        LakeColumns.stated("tm.parquet", columns, key, timestamp),
        compression,
        parse_roll("parquet", roll, roll_size),
    )
