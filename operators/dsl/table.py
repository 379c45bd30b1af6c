"""`Table`: rows by key, and every change of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeAlias

from typing_extensions import Self, TypeVar

from ..building.specs import StepContext, StepSpec
from ..building.stream_reference import Grouping, check_function
from ..errors import TopologyError
from ..graph.target import Target
from ..record import Record, Windowed
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stateless.stateless import TableFilter, TableMap
from ..stateless.to_stream import rows_of
from ..tables.steps import grouped_rows, suppression, table_rows
from ..targets.steps import target_sink
from ..time.durations import Duration
from . import grouped as groups
from . import stream as streams
from .handle import Handle, Stored
from .table_joins import TableJoins

__all__ = ["GlobalTable", "Table", "WindowedTable"]

K = TypeVar("K", default=Any)
K2 = TypeVar("K2", default=Any)
V = TypeVar("V", default=Any)
R = TypeVar("R", default=Any)


class Table(TableJoins[K, V], Generic[K, V]):
    """Rows by key: the current value of each key, and every change of it.

    Functions get the value of a row, which is never None.

    Example:
        >>> german = customers.filter(lambda row: row["country"] == "DE")
        >>> german.map(lambda row: row["name"]).to("german-names", value=tm.utf8)
    """

    def filter(self, function: Callable[[V], object]) -> Table[K, V]:
        """Keep the rows whose value the function is true for; the others are deleted downstream.

        Args:
            function: Gets the value of a row.

        Example:
            >>> german = customers.filter(lambda row: row["country"] == "DE")
        """
        check_function(function, ".filter()")

        def operator(context: StepContext) -> TableFilter:
            return TableFilter(context.name, function, updates=context.updates_out)

        return Table(self.reference.add(StepSpec(kind="filter", operator=operator, asks="old", passes_on=True)))

    def map(self, function: Callable[[V], R], *, value: Serde[R] | None = None) -> Table[K, R]:
        """Replace the value of each row by the result of a function.

        Args:
            function: Gets the value of a row; None deletes the row.
            value: The serde of the results; without it, the one that fits the function's annotated return type.

        Example:
            >>> names = customers.map(lambda row: row["name"], value=tm.utf8)
        """
        check_function(function, ".map()")
        serde = check_serde(value, ".map(value=): ") or result_serde(function)

        def operator(context: StepContext) -> TableMap:
            return TableMap(context.name, function, updates_in=context.updates_in, updates_out=context.updates_out)

        return Table(replace(self.reference.add(StepSpec(kind="map", operator=operator, asks="same")), value=serde))

    def suppress(self, *, until: Duration, max_records: int | None = None, max_bytes: int | None = None) -> Self:
        """Hold changes back, and send only the newest of several.

        Args:
            until: "close", for tables with windows: sends the last result of a window once, when it closes, and nothing
                for a window that was deleted before. "10s": sends the newest value of a row 10 s of stream time after
                its first change that was held back.
            max_records: The largest number of rows held per task; the oldest are sent early when there are more.
            max_bytes: The same for the bytes of keys and values.

        Raises:
            TopologyError: "close" without windows or with a limit, or a limit below 1.

        Example:
            >>> calm = customers.suppress(until="10s", max_records=100_000)
        """
        return type(self)(suppression(self.reference, until, max_records, max_bytes))

    def stored(self, name: str) -> Table[K, V]:
        """Keep the rows in a store, for queries. Tables made by keyed steps have a store already.

        Args:
            name: The name of the store.

        Example:
            >>> names = customers.map(lambda row: row["name"], value=tm.utf8).stored("names")
        """
        return Table[K, V](table_rows(Grouping(rows_of(self.reference)))).named(name)

    def group_by(
        self,
        function: Callable[[V], K2 | None],
        of: Callable[[V], Any] | None = None,
        *,
        key: Serde[K2] | None = None,
        value: Serde[Any] | None = None,
    ) -> groups.TableGrouped[K2, Any]:
        """Group the rows by the result of a function, to be counted, reduced or aggregated.

        Args:
            function: Gets the value of a row and returns its group; None is no group.
            of: Gets the value of a row and returns what is aggregated of it; without it, the whole value.
            key: The serde of the groups.
            value: The serde of what `of` returns.

        Raises:
            TopologyError: `value` is given without `of`.

        Example:
            >>> per_country = customers.group_by(lambda row: row["country"], key=tm.utf8).count()
        """
        return groups.TableGrouped(grouped_rows(self.reference, function, of, key, value))

    def to_stream(self) -> streams.Stream[K, V]:
        """Return the stream of all changes; a deleted row is a record with the value None.

        Example:
            >>> changes = customers.to_stream().filter(lambda row: row is not None)
        """
        return streams.Stream(rows_of(self.reference))

    def repartition(self, partitions: int | None = None) -> Table[K, V]:
        """Write the changes to an internal topic by their key, and read the table from there.

        This lets tables be joined whose topics have different numbers of partitions. A `history` is not kept.

        Args:
            partitions: The number of partitions of the topic; without it, that of the topics it meets.

        Example:
            >>> wide = customers.repartition(partitions=32)
        """
        return self.to_stream().repartition(partitions).to_table()

    def to(
        self,
        topic: str | Callable[[Record[K, V]], str],
        *,
        key: Serde[Any] | None = None,
        value: Serde[Any] | None = None,
        partition: Callable[[Record[K, V]], int] | None = None,
        headers: Callable[[Record[K, V]], Any] | None = None,
    ) -> Handle:
        """Write every change to a topic; a deleted row is a record with a null value.

        Args:
            topic: The topic, or a function that chooses one for each change.
            key: The serde of the keys, as for `Stream.to`.
            value: The serde of the values.
            partition: Chooses the partition of each change.
            headers: Gives the headers of each change.

        Example:
            >>> customers.to("customers-copy")
        """
        return self.to_stream().to(topic, key=key, value=value, partition=partition, headers=headers)

    def sink(self, target: Target) -> Handle:
        """Keep the rows in a system outside Kafka as they are here, each change exactly once.

        Args:
            target: The target, such as `tm.postgres(...)`: it updates rows by key, and deletes them.

        Raises:
            TopologyError: The target cannot take these rows, or it is none.

        Example:
            >>> counts = orders.group_by(lambda order: order["item"], key=tm.utf8).count().named("counts")
            >>> counts.sink(tm.postgres("postgresql://localhost/shop", table="counts", columns={"value": "bigint"}))
        """
        if not isinstance(target, Target):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(
                f".sink() of a table takes a target such as tm.postgres(...), not {target!r}; "
                ".to_stream().sink(function) calls a function with each change"
            )
        return Handle(self.reference.to(target_sink(rows_of(self.reference), target, table=True)))


class GlobalTable(Stored, Generic[K, V]):
    """A table of which every instance holds all rows.

    Streams look it up by any key. It sends no changes.

    Example:
        >>> items = app.global_table("items", key=tm.utf8, value=tm.json)
        >>> priced = orders.join(items, lambda order, item: item, on=lambda order: order["item"], how="left")
    """


WindowedTable: TypeAlias = Table[Windowed[K], V]
"""A table with a row per key and window: its keys are `tm.Windowed`.

Example:
    >>> hours = orders.group_by_key().window(tm.tumbling("1h")).count()
    >>> late_hours = hours.filter(lambda n: n > 100)
"""
