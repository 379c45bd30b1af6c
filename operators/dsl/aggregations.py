"""`count`, `reduce` and `aggregate` of all grouped handles, per key or per key and window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Generic, Literal, overload

from typing_extensions import Self, TypeVar

from ..aggregates.aggregators import Aggregator
from ..aggregates.fold import Fold, counting
from ..aggregates.steps import aggregation, reduction
from ..building.stream_reference import Grouping, StreamReference
from ..building.topology_builder import checked_former
from ..serdes.auto import auto
from ..serdes.base import Serde
from ..time.windows import emitting_rows
from . import table as tables

__all__ = ["Aggregations", "Groups", "StreamAggregations"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
A = TypeVar("A", default=Any)


class Aggregations(ABC, Generic[K, V]):
    """Values by key, to be counted or aggregated into a table with keys of type K."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping

    def count(self) -> tables.Table[K, int]:
        """Count the records or rows per key.

        Example:
            >>> per_item = orders.group_by(lambda order: order["item"], key=tm.utf8).count().named("per-item")
        """
        return tables.Table(self._fold("count", counting(auto), None))

    def _aggregated(self, arguments: tuple[Any, ...], columns: dict[str, Any]) -> tables.Table[K, Any]:
        return tables.Table(self._fold("aggregate", *self._aggregation(arguments, columns)))

    @abstractmethod
    def _aggregation(self, arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
        """Return the fold and serde of an `aggregate`, from its arguments."""

    @abstractmethod
    def _fold(self, kind: str, folding: Fold, serde: Serde[Any] | None) -> StreamReference:
        """Add the step."""


class StreamAggregations(Aggregations[K, V], Generic[K, V]):
    """The values of a stream by key, or by key and window."""

    def reduce(self, function: Callable[[V, V], V | None], *, value: Serde[V] | None = None) -> tables.Table[K, V]:
        """Combine the values per key, two at a time, into one of the same type.

        Args:
            function: Gets the result so far and the next value; None deletes the result. The first value is taken as it
                is.
            value: The serde of the results; without it, that of the values.

        Example:
            >>> def larger(one, other):
            ...     return max(one, other, key=lambda order: order["pieces"])
            >>> largest = orders.group_by(lambda order: order["item"], key=tm.utf8).reduce(larger)
        """
        serde, folding = reduction(function, self.grouping, value)
        return tables.Table(self._fold("reduce", folding, serde))

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        function: Callable[[A, V], A | None],
        /,
        *,
        merge: Callable[[A, A], A | None] | None = None,
        value: Serde[A] | None = None,
    ) -> tables.Table[K, A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        function: Callable[[A, V], A | None],
        /,
        *,
        merge: Callable[[A, A], A | None] | None = None,
        value: Serde[A] | None = None,
    ) -> tables.Table[K, A]: ...
    @overload
    def aggregate(self, **columns: Aggregator[Any]) -> tables.Table[K, dict[str, Any]]: ...
    def aggregate(self, *arguments: Any, **columns: Any) -> tables.Table[K, Any]:
        """Aggregate the values per key, into named columns or by a function.

        `aggregate(name=tm.sum("field"), ...)` gives rows with these columns. `aggregate(initial, function)` replaces
        the result by `function(result, value)` with each value.

        Args:
            initial: The result before the first value, called if it can be.
            function: Gets the result so far and the next value; None deletes the result.
            merge: For session windows: makes one result of two. It gets the result so far, at first `initial`, and that
                of each session that a record joins, oldest first, as in Kafka Streams.
            value: The serde of the results.
            columns: Aggregators by the name of their column.

        Raises:
            TopologyError: Columns and a function are given, or neither; or `merge` is given without windows.

        Example:
            >>> grouped = orders.group_by(lambda order: order["item"], key=tm.utf8)
            >>> rows = grouped.aggregate(orders=tm.count(), pieces=tm.sum("pieces")).named("rows")
            >>> sums = grouped.aggregate(0, lambda total, order: total + order["pieces"], value=tm.int64).named("sums")
        """
        return self._aggregated(arguments, columns)

    def _aggregation(self, arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
        return aggregation(arguments, columns)


class Groups(Aggregations[K, V], Generic[K, V]):
    """Values that are brought together by key, through a repartition topic where needed."""

    _on_commit: bool = False

    def emit(self, when: Literal["update", "commit"]) -> Self:
        """Set when results are sent: on every update, or the last one per key with each commit.

        Args:
            when: "update", the default, sends each change. "commit" sends, with each commit, the last result of each
                key that has changed since the one before, in the order of the last change: fewer results and the same
                last ones, up to `commit_interval` later. A row that began and ended between two commits is not sent.

        Raises:
            TopologyError: It is something else.

        Example:
            >>> by_item = orders.group_by(lambda order: order["item"], key=tm.utf8)
            >>> by_item.emit("commit").count().to("orders-per-item", value=tm.int64)
        """
        found = copy(self)
        found._on_commit = emitting_rows(when)
        return found

    def named(self, name: str, *, was: str | Sequence[str] = ()) -> Self:
        """Names the repartition topic, where one is needed.

        Args:
            name: Letters, digits, `.`, `_` and `-`.
            was: The name that it had before, or several of them: the topic stays in use.

        Example:
            >>> by_item = orders.group_by(lambda order: order["item"], key=tm.utf8).named("by-item")
            >>> per_item = by_item.count()
        """
        self.grouping.name, self.grouping.was = name, checked_former(was)
        return self
