"""Streams and tables by group: `Grouped` and `TableGrouped`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from ..aggregates.aggregators import Aggregator
from ..aggregates.deduplicate import deduplicated
from ..aggregates.fold import Fold
from ..aggregates.steps import fold
from ..building.stream_reference import StreamReference, check_function
from ..errors import TopologyError
from ..serdes.base import Serde
from ..tables.steps import group_aggregation, group_fold, group_reduction
from ..time.durations import Duration
from ..time.windows import Emit, Windows
from . import cogrouped as cogroups
from . import stream as streams
from . import table as tables
from . import windowed
from .aggregations import Groups, StreamAggregations

__all__ = ["Grouped", "TableGrouped"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
A = TypeVar("A", default=Any)


class Grouped(Groups[K, V], StreamAggregations[K, V], Generic[K, V]):
    """A stream grouped by key, to be counted, reduced or aggregated.

    Example:
        >>> by_item = orders.group_by(lambda order: order["item"], key=tm.utf8)
        >>> by_item.window(tm.tumbling("1m")).count().to("orders-per-minute")
    """

    def window(self, windows: Windows) -> windowed.WindowedStream[K, V]:
        """Divides the records of each key into windows of event time.

        Args:
            windows: What `tm.tumbling`, `tm.hopping`, `tm.calendar`, `tm.sliding` or `tm.session` returns.

        Raises:
            TopologyError: It is something else.

        Example:
            >>> per_minute = orders.group_by_key().window(tm.tumbling("1m", grace="10s")).count()
        """
        if not isinstance(windows, Windows):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f".window() takes windows such as tm.tumbling('1m'), not {windows!r}")
        return windowed.WindowedStream(self.grouping, windows, Emit(on_commit=self._on_commit))

    def deduplicate(self, within: Duration, *, by: Callable[[V], Any] | None = None) -> streams.Stream[K, V]:
        """Keep the first record per group within a time, as `Stream.deduplicate` does per key.

        Args:
            within: The time within which a record is a duplicate.
            by: Tells records of one group apart.

        Example:
            >>> once = orders.group_by(lambda order: order["customer"], key=tm.utf8).deduplicate("1h")
        """
        if self._on_commit:
            raise TopologyError(".emit('commit') is for results that change: .deduplicate() sends a record once")
        return streams.Stream(deduplicated(self.grouping, within, by))

    def cogroup(
        self, function: Callable[[A, V], A | None], *others: tuple[Grouped[K, Any], Callable[[A, Any], A | None]]
    ) -> cogroups.Cogrouped[K, A]:
        """Begins an aggregate of several streams, each with its own function of the common result.

        Args:
            function: Gets the result so far and a value of this stream; None deletes the result.
            others: Pairs of another grouped stream and its function. `a.cogroup(f, (b, g))` is `a.cogroup(f).cogroup(b,
                g)`.

        Raises:
            TopologyError: One of the others is not such a pair.

        Example:
            >>> ordered, paid = orders.group_by_key(), payments.group_by_key()
            >>> balance = ordered.cogroup(lambda n, order: n - order["pieces"], (paid, lambda n, p: n + p["amount"]))
            >>> balances = balance.aggregate(0.0, value=tm.float64)
        """
        check_function(function, ".cogroup()")
        if self._on_commit:
            raise TopologyError("a cogroup has one result of all streams: write .cogroup(...).emit('commit')")
        begun = cogroups.Cogrouped[K, A]((self.grouping,), (function,))
        for pair in others:
            if not isinstance(pair, tuple) or len(pair) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TopologyError(f".cogroup() takes its own function, then pairs (grouped, function), not {pair!r}")
            begun = begun.cogroup(*pair)
        return begun

    def _aggregation(self, arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
        if arguments and columns.get("merge") is not None:
            raise TopologyError(".aggregate(merge=) is for windows: without them there is nothing to merge")
        return super()._aggregation(arguments, columns)

    def _fold(self, kind: str, folding: Fold, serde: Serde[Any] | None) -> StreamReference:
        return fold(self.grouping, kind, folding, serde, on_commit=self._on_commit)


class TableGrouped(Groups[K, V], Generic[K, V]):
    """The rows of a table by group, to be counted, reduced or aggregated.

    When a row changes, its old value is subtracted from the group it was in before the new one is added to the group it
    is in now.

    Example:
        >>> by_country = customers.group_by(lambda row: row["country"], key=tm.utf8)
        >>> by_country.count().to("customers-per-country", value=tm.int64)
    """

    def reduce(
        self,
        adder: Callable[[V, V], V | None],
        subtractor: Callable[[V, V], V | None],
        *,
        value: Serde[V] | None = None,
    ) -> tables.Table[K, V]:
        """Combine the rows per group, two at a time, into one of the same type.

        Args:
            adder: Gets the result so far and the value of a new row; None deletes the result.
            subtractor: Gets the result so far and the value that a row had, to take it out of the result.
            value: The serde of the results; without it, that of the rows.

        Example:
            >>> sizes = orders.map(lambda order: order["pieces"], value=tm.int64).to_table()
            >>> totals = sizes.group_by(lambda n: "all", key=tm.utf8).reduce(lambda a, b: a + b, lambda a, b: a - b)
        """
        folding, serde = group_reduction(adder, subtractor, self.grouping, value)
        return tables.Table(self._fold("reduce", folding, serde))

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        adder: Callable[[A, V], A | None],
        subtractor: Callable[[A, V], A | None],
        /,
        *,
        value: Serde[A] | None = None,
    ) -> tables.Table[K, A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        adder: Callable[[A, V], A | None],
        subtractor: Callable[[A, V], A | None],
        /,
        *,
        value: Serde[A] | None = None,
    ) -> tables.Table[K, A]: ...
    @overload
    def aggregate(self, **columns: Aggregator[Any]) -> tables.Table[K, dict[str, Any]]: ...
    def aggregate(self, *arguments: Any, **columns: Any) -> tables.Table[K, Any]:
        """Aggregate the rows per group, into named columns or by functions.

        Of the columns, `tm.count`, `tm.sum` and `tm.mean` can subtract a row. Sums of floats keep the rounding errors
        of subtracted values until the group is empty.

        Args:
            initial: The result before the first row, called if it can be.
            adder: Gets the result so far and the value of a new row; None deletes the result.
            subtractor: Gets the result so far and the value that a row had, to take it out of the result.
            value: The serde of the results.
            columns: Aggregators by the name of their column.

        Raises:
            TopologyError: Columns and functions are given, or neither; or an aggregator cannot subtract.

        Example:
            >>> by_item = orders.to_table().group_by(lambda order: order["item"], key=tm.utf8)
            >>> rows = by_item.aggregate(orders=tm.count(), pieces=tm.sum("pieces"))
        """
        return self._aggregated(arguments, columns)

    def _aggregation(self, arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
        return group_aggregation(arguments, columns)

    def _fold(self, kind: str, folding: Fold, serde: Serde[Any] | None) -> StreamReference:
        return group_fold(self.grouping, kind, folding, serde, on_commit=self._on_commit)
