"""`tm.history`: Parquet files or a table that a stream reads before its topic."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ...operators.errors import ConfigError, TopologyError
from ...operators.graph.history import History, HistoryInput, HistoryReader, RowUnpacker
from ..config.snapshot_urls import checked_url, missing_package
from ..lake.arguments import check_packages, names_of
from ..lake.delta import Delta
from ..lake.iceberg import Iceberg

__all__ = ["FileHistory", "RowHistory", "TableHistory", "history"]


@dataclass(frozen=True)
class RowHistory(History):
    """Rows with these columns, wherever they are."""

    key: str | None
    timestamp: str | None
    columns: tuple[str, ...] | None

    @property
    @abstractmethod
    def call(self) -> str:
        """The beginning of a call of `tm.history` for it."""

    def reader(self, given: HistoryInput) -> HistoryReader:
        rows: Any = import_module(f"{__package__}.rows")  # it needs the extra `parquet`
        made: HistoryReader = rows.PieceReader(self, given)
        return made

    def unpacker(self, given: HistoryInput) -> RowUnpacker:
        packing: Any = import_module(f"{__package__}.packing")  # it needs the extra `parquet`
        made: RowUnpacker = packing.Unpacker(given)
        return made


@dataclass(frozen=True)
class FileHistory(RowHistory):
    """Parquet files, made by `tm.history`."""

    url: str
    """A file, a folder, or a pattern with * and **."""

    @property
    def call(self) -> str:
        return f"tm.history({self.url!r}"

    def __repr__(self) -> str:
        return f"history {self.url!r}"


@dataclass(frozen=True)
class TableHistory(RowHistory):
    """A table at one version, made by `tm.history`."""

    table: Iceberg | Delta
    version: int | None
    """That of Delta, or the id of a snapshot of Iceberg; None for the newest one when the application starts first."""
    written_by: tuple[str, str] | None
    """The application and the step of the sink whose positions are taken."""

    @property
    def call(self) -> str:
        return f"tm.history(tm.{self.table.kind}(...)"

    def __repr__(self) -> str:
        return f"history {self.table!r}"


def history(
    place: str | Iceberg | Delta,
    *,
    key: str | None = None,
    timestamp: str | None = None,
    columns: Sequence[str] | str | None = None,
    version: int | None = None,
    written_by: str | None = None,
) -> RowHistory:
    """Return files or a table as the history of a stream, for `app.stream(..., history=)`.

    Each row becomes a record, by the serdes of the stream: its columns are the fields of the value. Rows are read in
    the order of their event time if they have one, else in the order of the files' names.

    Args:
        place: A file, a folder with all files below it, or a pattern with * and **: file://, s3://, gs://, abfs:// or
            hdfs://. Folders such as `kind=buy/` are columns; names that begin with "_" or "." are passed over. Or a
            table, as `tm.iceberg(...)` or `tm.delta(...)`.
        key: The column of the key. Without it: the column `key` if there is one, else records have no key.
        timestamp: The column of the event time: timestamps, dates, or integers of milliseconds since 1970. Without it:
            that of the table's own `timestamp=`, the column `timestamp`, or the only one of a timestamp type. It may be
            missing if the stream has `timestamp=`, which gets the time from the value.
        columns: The columns of the value. Without it: all but `key` and `timestamp`, where these are used by default.
        version: The version of a table of Delta, or the id of a snapshot of Iceberg. Without it: the newest one when
            the application starts for the first time.
        written_by: The sink that has written the table from the stream's topic, as "application/step": the topic is
            read on from its positions. Without it, a table of Iceberg says itself which sinks have.

    Raises:
        TopologyError: An argument is wrong, or a package is not installed.

    Example:
        >>> old = tm.history("s3://lake/orders/*.parquet", key="buyer", timestamp="at")
        >>> orders = tm.App("shop").stream("orders", key=tm.utf8, value=tm.json, history=old)
    """
    names = None if columns is None else names_of(columns)
    if isinstance(place, (Iceberg, Delta)):
        application, slash, step = (written_by or "").partition("/")
        if written_by is not None and not (application and slash and step):
            raise TopologyError(
                f"tm.history(written_by={written_by!r}): give the application and the step, as in 'shop/orders-lake'"
            )
        if version is not None and type(version) is not int:
            raise TopologyError(f"tm.history(version={version!r}): give a number")
        check_packages(place.kind, "numpy")
        time = timestamp or place.columns.timestamp
        return TableHistory(key, time, names, place, version, (application, step) if written_by else None)
    if version is not None or written_by is not None:
        raise TopologyError("tm.history(version=, written_by=) are for tables: tm.iceberg(...) or tm.delta(...)")
    try:
        url = checked_url(place, "tm.history(url)")
        missing = missing_package(url)
    except ConfigError as error:
        raise TopologyError(str(error)) from error
    if missing:
        raise TopologyError(missing)
    check_packages("parquet", "numpy", "pyarrow")
    return FileHistory(key, timestamp, names, url)
