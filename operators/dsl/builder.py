"""Where a program begins: sources, and the finished topology."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, overload

from typing_extensions import TypeVar

from ..building.nodes import StoreKind
from ..building.sources import OnInvalid, Pattern, source
from ..building.stream_reference import Grouping
from ..building.topology_builder import TopologyBuilder
from ..changes.serde import Debezium, as_rows
from ..errors import TopologyError
from ..graph.history import History
from ..graph.target import Target
from ..graph.topology import Topology
from ..history.steps import read_history
from ..joins.steps import global_source
from ..joins.temporal_steps import versioned_rows
from ..record import SourceRecord
from ..serdes.base import Serde
from ..tables.steps import table_rows
from ..time.durations import Duration
from ..time.event_time import FromRecord
from ..time.watermark import Watermark
from .stream import Stream
from .table import GlobalTable, Table

__all__ = ["Builder", "pattern"]

K = TypeVar("K", default=bytes)
V = TypeVar("V", default=bytes)


def pattern(regex: str) -> Pattern:
    """Subscribe to all topics whose whole name matches a regular expression, also later ones.

    Args:
        regex: A regular expression of Python's `re`.

    Raises:
        TopologyError: It is not a regular expression.

    Example:
        >>> logs = app.stream(tm.pattern("logs-.*"), value=tm.utf8)
    """
    try:
        re.compile(regex)
    except (re.error, TypeError) as error:
        raise TopologyError(f"tm.pattern({regex!r}) is not a regular expression: {error}") from error
    return Pattern(regex)


class Builder:
    """A program under construction: its sources, and the topology that is made of it.

    `App` is a builder with an application id and settings.

    Example:
        >>> builder = tm.Builder()
        >>> builder.stream("orders", value=tm.json).filter(bool).to("kept")
        >>> topology = builder.topology()
    """

    def __init__(self, *, store: StoreKind = "rocksdb") -> None:
        self._builder = TopologyBuilder(store=store)

    def stream(
        self,
        topics: str | Sequence[str] | Pattern,
        *,
        key: Serde[K] | None = None,
        value: Serde[V] | None = None,
        timestamp: Callable[[V], Any] | FromRecord[SourceRecord[K, V]] | None = None,
        on_invalid: OnInvalid = "skip",
        start: str | datetime = "earliest",
        watermark: Watermark | None = None,
        history: str | History | Target | None = None,
        until: datetime | Mapping[int, int] | None = None,
        name: str | None = None,
    ) -> Stream[K, V]:
        """Read one or several topics as a stream.

        Args:
            topics: A topic, several topics, or `tm.pattern(regex)`.
            key: The serde of the keys; without it they are bytes.
            value: The serde of the values; without it they are bytes.
            timestamp: Gives the event time of a value, or of the whole record where it is made by `tm.from_record`: an
                int of milliseconds since 1970 or an aware datetime. None drops the record. Without it: Kafka's
                timestamp.
            on_invalid: With "partition_time" a record whose time is None or negative gets the newest time of its
                partition instead of being dropped.
            start: Where a new application begins to read: "earliest", "latest", "24h ago" or a datetime.
            watermark: How far records may be out of order, such as `tm.bounded("5s", idle="30s")`. Without it the time
                of steps downstream is the newest event time.
            history: Rows to read before the topic: the URL of Parquet files, such as "s3://lake/views/*.parquet", a
                table, as `tm.iceberg(...)` or `tm.delta(...)`, or `tm.history(...)`, which says more about them.
            until: Where the history ends and the topic begins, if the files do not say it: a datetime, or the first
                offset of each partition. Without both, the topic begins at `start`.
            name: The name of the source; without it, that of the topic.

        Raises:
            TopologyError: An argument is not valid, or a topic is read already in another way.

        Example:
            >>> clicks = app.stream("clicks", key=tm.utf8, value=tm.json, timestamp=lambda click: click["at"])
        """
        reference = source(self._builder, topics, key, value, timestamp, start, on_invalid)
        if name is not None:
            self._builder.rename(reference.step, name)
        if watermark is not None and not isinstance(watermark, Watermark):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"watermark= takes tm.bounded('5s', idle='30s') or the like, not {watermark!r}")
        reference.step.watermark = watermark
        if history is not None:
            called = name or reference.step.spec.default_name or ""
            read_history(reference, called, self._history(history), until)
        elif until is not None:
            raise TopologyError("until= says where a history ends: give history= too")
        return Stream(reference)

    def _history(self, given: object) -> History:
        """Return what `history=` says."""
        if isinstance(given, History):
            return given
        how = (
            "tm.history(url), since only an App takes the URL alone"
            if isinstance(given, str)
            else "a URL or tm.history"
        )
        raise TopologyError(f"history={given!r}: give {how}; it reads Parquet files, and tables of Iceberg and Delta")

    @overload
    def table(
        self,
        topics: str | Sequence[str] | Pattern,
        *,
        key: Serde[K] | None = None,
        value: Debezium[V],
        timestamp: Callable[[V], Any] | FromRecord[SourceRecord[K, V]] | None = None,
        on_invalid: OnInvalid = "skip",
        history: Duration | None = None,
        name: str | None = None,
    ) -> Table[K, V]: ...
    @overload
    def table(
        self,
        topics: str | Sequence[str] | Pattern,
        *,
        key: Serde[K] | None = None,
        value: Serde[V] | None = None,
        timestamp: Callable[[V], Any] | FromRecord[SourceRecord[K, V]] | None = None,
        on_invalid: OnInvalid = "skip",
        history: Duration | None = None,
        name: str | None = None,
    ) -> Table[K, V]: ...
    def table(
        self,
        topics: str | Sequence[str] | Pattern,
        *,
        key: Serde[Any] | None = None,
        value: Serde[Any] | None = None,
        timestamp: Callable[[Any], Any] | FromRecord[Any] | None = None,
        on_invalid: OnInvalid = "skip",
        history: Duration | None = None,
        name: str | None = None,
    ) -> Table[Any, Any]:
        """Read a topic as a table: the newest value per key, where a null value deletes the row.

        Args:
            topics: A topic, several topics, or `tm.pattern(regex)`.
            key: The serde of the keys; without it they are bytes.
            value: The serde of the values; without it they are bytes.
            timestamp: Gives the event time of a value, as for `stream`.
            on_invalid: What happens to a record without a valid time, as for `stream`.
            history: How far back the table remembers its rows, before the newest event time, for `Stream.join(...,
                as_of=True)`. With it, the newest value is the one with the largest event time, and not the one that
                arrived last.
            name: The name of the table and its store; without it, that of the topic.

        Raises:
            TopologyError: An argument is not valid, or a topic is read already in another way.

        Example:
            >>> rates = app.table("rates", key=tm.utf8, value=tm.float64, history="1d")
        """
        rows = as_rows(value)
        reference = source(self._builder, topics, key, rows, timestamp, "earliest", on_invalid, suffix="-source")
        called = (reference.step.spec.default_name or "").removesuffix("-source")
        grouping = Grouping(reference)
        made = table_rows(grouping, name=called) if history is None else versioned_rows(grouping, history, name=called)
        reference.step.made_for = made.step
        table = Table[Any, Any](made)
        return table if name is None else table.named(name)

    @overload
    def global_table(
        self,
        topic: str,
        *,
        key: Serde[K] | None = None,
        value: Debezium[V],
        timestamp: Callable[[V], Any] | FromRecord[SourceRecord[K, V]] | None = None,
        name: str | None = None,
    ) -> GlobalTable[K, V]: ...
    @overload
    def global_table(
        self,
        topic: str,
        *,
        key: Serde[K] | None = None,
        value: Serde[V] | None = None,
        timestamp: Callable[[V], Any] | FromRecord[SourceRecord[K, V]] | None = None,
        name: str | None = None,
    ) -> GlobalTable[K, V]: ...
    def global_table(
        self,
        topic: str,
        *,
        key: Serde[Any] | None = None,
        value: Serde[Any] | None = None,
        timestamp: Callable[[Any], Any] | FromRecord[Any] | None = None,
        name: str | None = None,
    ) -> GlobalTable[Any, Any]:
        """Read a topic as a table of which every instance holds all rows.

        It is read to its end before anything is processed. Its partitions need not match those of other topics.

        Args:
            topic: The topic.
            key: The serde of the keys; without it they are bytes.
            value: The serde of the values; without it they are bytes.
            timestamp: Gives the event time of a value, as for `stream`.
            name: The name of the store; without it, that of the topic.

        Raises:
            TopologyError: An argument is not valid.

        Example:
            >>> items = app.global_table("items", key=tm.utf8, value=tm.json)
        """
        table = GlobalTable[Any, Any](global_source(self._builder, topic, key, as_rows(value), timestamp))
        return table if name is None else table.named(name)

    def topology(self) -> Topology:
        """Return the program as it is now, checked and frozen.

        Raises:
            TopologyError: The program has no source, two steps have one name, or the like.

        Example:
            >>> orders.to("copy")
            >>> sorted(source.name for source in app.topology().sources)
            ['customers-source', 'orders', 'payments']
        """
        return self._builder.topology()
