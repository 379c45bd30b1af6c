"""Joins of a stream with a stream, a table or a global table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, overload

from typing_extensions import TypeVar

from ..errors import TopologyError
from ..joins.steps import join_global, join_streams, join_table, refuse_options
from ..joins.table_join import How
from ..joins.temporal_steps import temporal_join
from ..serdes.base import Serde
from ..time.durations import Duration
from ..time.join_windows import Within
from . import stream as streams
from . import table as tables
from .handle import Handle

__all__ = ["StreamJoins"]

K = TypeVar("K", default=Any)
K2 = TypeVar("K2", default=Any)
V = TypeVar("V", default=Any)
V2 = TypeVar("V2", default=Any)
R = TypeVar("R", default=Any)


class StreamJoins(Handle, Generic[K, V]):
    """The method `join` of `Stream`."""

    @overload
    def join(
        self,
        other: streams.Stream[K, V2],
        function: Callable[[V, V2], R],
        *,
        within: Within,
        grace: Duration = 0,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: streams.Stream[K, V2],
        function: Callable[[V, V2 | None], R],
        *,
        within: Within,
        grace: Duration = 0,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: streams.Stream[K, V2],
        function: Callable[[V | None, V2 | None], R],
        *,
        within: Within,
        grace: Duration = 0,
        how: Literal["outer"],
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: tables.Table[K, V2],
        function: Callable[[V, V2], R],
        *,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: tables.Table[K, V2],
        function: Callable[[V, V2 | None], R],
        *,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: tables.Table[K, V2],
        function: Callable[[V, V2], R],
        *,
        as_of: Literal[True],
        grace: Duration = 0,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: tables.Table[K, V2],
        function: Callable[[V, V2 | None], R],
        *,
        as_of: Literal[True],
        grace: Duration = 0,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: tables.GlobalTable[K2, V2],
        function: Callable[[V, V2], R],
        *,
        on: Callable[[V], K2 | None] | None = None,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    @overload
    def join(
        self,
        other: tables.GlobalTable[K2, V2],
        function: Callable[[V, V2 | None], R],
        *,
        on: Callable[[V], K2 | None] | None = None,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> streams.Joined[K, R]: ...
    def join(
        self,
        other: streams.Stream[K, Any] | tables.Table[K, Any] | tables.GlobalTable[Any, Any],
        function: Callable[[Any, Any], Any],
        *,
        within: Within | None = None,
        as_of: bool = False,
        grace: Duration = 0,
        on: Callable[[Any], Any] | None = None,
        how: How = "inner",
        value: Serde[Any] | None = None,
    ) -> streams.Joined[K, Any]:
        """Join the stream with another stream, a table or a global table.

        With a stream: pairs of records of one key whose event times are at most `within` apart. With a table: the row
        that the key has when the record arrives or, with `as_of=True`, the row it had at the record's event time. With
        a global table: the row under the key that `on` gives.

        Args:
            other: A stream, a table or a global table of the same program.
            function: Gets both values, which it must not change, and returns the joined value.
            within: With a stream: the largest distance in event time, or a pair: how far the other record may be
                (before, after) this one.
            as_of: With a table that has a `history`: join by event time.
            grace: With a stream: how late records may be. With `as_of=True`: how long records wait, in stream time, for
                changes of the table.
            on: With a global table: a function from the value to the key to look up; without it, the record's own key.
            how: "inner"; "left" also gives records of this stream that find no partner, and "outer", with a stream,
                those of either side. The missing value is None.
            value: The serde of the results.

        Raises:
            TopologyError: An argument does not apply to this kind of join, or the table has no `history`.

        Example:
            >>> paid = orders.join(payments, lambda order, payment: {**order, **payment}, within="1h", grace="5m")
            >>> by_customer = orders.with_key(lambda order: order["customer"], key=tm.utf8)
            >>> named = by_customer.join(customers, lambda order, row: {**order, "name": row["name"]})
        """
        match other:
            case streams.Stream():
                refuse_options(".join() with a stream", as_of=as_of or None, on=on)
                return streams.Joined(
                    join_streams(self.reference, other.reference, function, within, grace, how, value)
                )
            case tables.Table():
                refuse_options(".join() with a table", within=within, on=on)
                if as_of:
                    return streams.Joined(
                        temporal_join(self.reference, other.reference, function, how=how, grace=grace, value=value)
                    )
                refuse_options(".join() with a table, without as_of=True,", grace=grace or None)
                return streams.Joined(join_table(self.reference, other.reference, function, how, value))
            case tables.GlobalTable():
                refuse_options(".join() with a global table", within=within, grace=grace or None, as_of=as_of or None)
                return streams.Joined(join_global(self.reference, other.reference, function, on, how, value))
            case _:
                raise TopologyError(f".join() takes a stream or a table, not {other!r}")
