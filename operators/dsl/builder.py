"""Where a program begins: sources, and the finished topology."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from typing_extensions import TypeVar

from ..building.draft import Draft, OnInvalid, Pattern, StoreKind
from ..building.flow import Flow, Grouping
from ..errors import TopologyError
from ..graph.topology import Topology
from ..joins.steps import global_source
from ..joins.temporal_steps import versioned_rows
from ..record import SourceRecord
from ..serdes.base import Serde, check_serde, raw
from ..serdes.hashable import check_key_serde
from ..tables.steps import table_rows
from ..time.durations import Duration
from ..time.event_time import FromRecord, TimeFunction
from ..time.watermark import Watermark
from .stream import GlobalTable, Stream, Table

__all__ = ["Builder", "pattern"]

K = TypeVar("K", default=bytes)
V = TypeVar("V", default=bytes)


def pattern(regex: str) -> Pattern:
    """All topics whose whole name matches the regular expression, those made later included."""
    try:
        re.compile(regex)
    except (re.error, TypeError) as error:
        raise TopologyError(f"tm.pattern({regex!r}) is not a regular expression: {error}") from error
    return Pattern(regex)


class Builder:
    """A program as it is being written."""

    def __init__(self, *, store: StoreKind = "rocksdb") -> None:
        self._draft = Draft(store=store)

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
        name: str | None = None,
    ) -> Stream[K, V]:
        """The records of one or several topics. Keys and values without a serde are bytes.

        `timestamp` gives the event time of a value: an int of milliseconds or an aware datetime; None drops the record.
        `tm.from_record(function)` gives it for the whole record, with its headers and Kafka's timestamp.
        With `on_invalid="partition_time"` a record whose time is None or negative is not dropped but gets the newest
        time of its partition so far, if there is one. `start` is where a new application begins to read: "earliest",
        "latest", "24h ago" or a datetime. `watermark`, such as `tm.bounded("5s", idle="30s")`, says how the time of
        steps downstream is told; without one it is the newest event time.
        """
        flow = self._source(topics, key, value, timestamp, start, name, on_invalid)
        if watermark is not None and not isinstance(watermark, Watermark):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"watermark= takes tm.bounded('5s', idle='30s') or the like, not {watermark!r}")
        flow.step.watermark = watermark
        return Stream(flow)

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
    ) -> Table[K, V]:
        """A topic as a table: the newest value of each key; a null value deletes the key.

        Newest is what comes last. With a `history` it is what has the largest time, and the table remembers that long,
        before the newest of all its records, what its rows were: see `Stream.join(..., as_of=True)`.
        """
        flow = self._source(topics, key, value, timestamp, "earliest", None, on_invalid, for_table=True)
        called = (flow.step.default or "").removesuffix("-source")
        grouping = Grouping(flow)
        rows = table_rows(grouping, name=called) if history is None else versioned_rows(grouping, history, name=called)
        flow.step.made_for = rows.step
        table = Table[K, V](rows)
        return table if name is None else table.named(name)

    def global_table(
        self,
        topic: str,
        *,
        key: Serde[K] | None = None,
        value: Serde[V] | None = None,
        timestamp: Callable[[V], Any] | FromRecord[SourceRecord[K, V]] | None = None,
        name: str | None = None,
    ) -> GlobalTable[K, V]:
        """A topic as a table that every instance has whole, for streams to look into by any key.

        The partitions of the topic need not match anybody's. It is read to its end before anything is processed.
        """
        table = GlobalTable[K, V](global_source(self._draft, topic, key, value, timestamp))
        return table if name is None else table.named(name)

    def topology(self) -> Topology:
        """The program as it is now, checked and frozen."""
        return self._draft.topology()

    def _source(
        self,
        topics: str | Sequence[str] | Pattern,
        key: Serde[Any] | None,
        value: Serde[Any] | None,
        timestamp: TimeFunction | None,
        start: str | datetime,
        name: str | None,
        on_invalid: OnInvalid,
        *,
        for_table: bool = False,
    ) -> Flow:
        step = self._draft.source(topics, key, value, timestamp, start, name, on_invalid, for_table=for_table)
        return Flow(
            self._draft, step, key=check_key_serde(key, "key=") or raw, value=check_serde(value, "value=") or raw
        )
