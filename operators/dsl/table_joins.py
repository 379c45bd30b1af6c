"""Joins of a table with a table, by key or by foreign key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from ..errors import TopologyError
from ..joins.table_join import How
from ..joins.table_steps import join_tables
from ..serdes.base import Serde
from . import table as tables
from .handle import Stored

__all__ = ["TableJoins"]

K = TypeVar("K", default=Any)
K2 = TypeVar("K2", default=Any)
V = TypeVar("V", default=Any)
V2 = TypeVar("V2", default=Any)
R = TypeVar("R", default=Any)


class TableJoins(Stored, Generic[K, V]):
    """The joins of `Table`."""

    @overload
    def join(
        self, table: tables.Table[K, V2], function: Callable[[V, V2], R | None], *, value: Serde[R] | None = None
    ) -> tables.Table[K, R]: ...
    @overload
    def join(
        self,
        table: tables.Table[K2, V2],
        function: Callable[[V, V2], R | None],
        *,
        on: Callable[[V], K2 | None],
        value: Serde[R] | None = None,
    ) -> tables.Table[K, R]: ...
    def join(
        self,
        table: tables.Table[Any, Any],
        function: Callable[[Any, Any], Any],
        *,
        on: Callable[[Any], Any] | None = None,
        value: Serde[Any] | None = None,
    ) -> tables.Table[K, Any]:
        """Join each row with the row of another table, and drop those that have no partner.

        The partner is the row under the same key or, with `on`, under a foreign key. A change on either side changes
        the joined row. Tables that are joined by the same key must have the same number of partitions.

        Args:
            table: A table of the same program.
            function: Gets both values; None deletes the joined row.
            on: Gets the value of this table's row and returns the key of its partner; None is no partner.
            value: The serde of the results.

        Raises:
            TopologyError: `table` is not a table, or has windows that do not fit.

        Example:
            >>> def addressed(order, customer):
            ...     return {**order, "country": customer["country"]}
            >>> rows = orders.to_table().join(customers, addressed, on=lambda order: order["customer"])
        """
        return self._joined(table, function, on, "inner", value)

    @overload
    def left_join(
        self, table: tables.Table[K, V2], function: Callable[[V, V2 | None], R | None], *, value: Serde[R] | None = None
    ) -> tables.Table[K, R]: ...
    @overload
    def left_join(
        self,
        table: tables.Table[K2, V2],
        function: Callable[[V, V2 | None], R | None],
        *,
        on: Callable[[V], K2 | None],
        value: Serde[R] | None = None,
    ) -> tables.Table[K, R]: ...
    def left_join(
        self,
        table: tables.Table[Any, Any],
        function: Callable[[Any, Any], Any],
        *,
        on: Callable[[Any], Any] | None = None,
        value: Serde[Any] | None = None,
    ) -> tables.Table[K, Any]:
        """Join each row with the row of another table, or with None where there is no partner.

        Args:
            table: A table of the same program.
            function: Gets both values; the second is None without a partner. None deletes the joined row.
            on: Gets the value of this table's row and returns the key of its partner; None is no partner.
            value: The serde of the results.

        Raises:
            TopologyError: `table` is not a table, or has windows that do not fit.

        Example:
            >>> counts = orders.group_by(lambda order: order["customer"], key=tm.utf8).count()
            >>> rows = customers.left_join(counts, lambda row, n: {"name": row["name"], "orders": n or 0})
        """
        return self._joined(table, function, on, "left", value)

    def outer_join(
        self,
        table: tables.Table[K, V2],
        function: Callable[[V | None, V2 | None], R | None],
        *,
        value: Serde[R] | None = None,
    ) -> tables.Table[K, R]:
        """Join the rows of both tables by key; the value of a missing partner is None.

        Args:
            table: A table of the same program.
            function: Gets both values, one of which may be None. None deletes the joined row.
            value: The serde of the results.

        Raises:
            TopologyError: `table` is not a table, or has windows that do not fit.

        Example:
            >>> ordered, paid = orders.group_by_key().count(), payments.group_by_key().count()
            >>> both = ordered.outer_join(paid, lambda orders, payments: [orders, payments])
        """
        return self._joined(table, function, None, "outer", value)

    def _joined(
        self,
        table: tables.Table[Any, Any],
        function: Callable[[Any, Any], Any],
        on: Callable[[Any], Any] | None,
        how: How,
        value: Serde[Any] | None,
    ) -> tables.Table[K, Any]:
        if not isinstance(table, tables.Table):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"a table can be joined with a table, not with {table!r}")
        return tables.Table(join_tables(self.reference, table.reference, function, on, how, value))
