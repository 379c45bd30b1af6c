"""Steps of a stream that look at one record at a time and keep no state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Generic

from typing_extensions import TypeVar

from ..building.specs import StepSpec
from ..building.stream_reference import StreamReference, check_function
from ..errors import TopologyError
from ..record import Record
from ..serdes.base import Serde, check_serde
from ..serdes.hashable import check_key_serde
from ..serdes.inference import result_serde
from ..stateless.stateless import (
    Filter,
    FlatMap,
    FlatMapRecord,
    Map,
    MapRecord,
    Merge,
    Peek,
    Split,
    WithKey,
    WithTimestamp,
)
from ..time.event_time import FromRecord, check_time_function
from . import stream as streams
from .handle import Handle

__all__ = ["Transformations"]

K = TypeVar("K", default=Any)
K2 = TypeVar("K2", default=Any)
V = TypeVar("V", default=Any)
V2 = TypeVar("V2", default=Any)
R = TypeVar("R", default=Any)


class Transformations(Handle, Generic[K, V]):
    """The methods of `Stream` that need no state."""

    def filter(self, function: Callable[[V], object]) -> streams.Stream[K, V]:
        """Keep the records whose value the function is true for.

        Args:
            function: Gets the value.

        Example:
            >>> large = orders.filter(lambda order: order["pieces"] >= 10)
        """
        check_function(function, ".filter()")
        spec = StepSpec(kind="filter", operator=lambda context: Filter(context.name, function), passes_on=True)
        return streams.Stream(self.reference.add(spec))

    def map(self, function: Callable[[V], R], *, value: Serde[R] | None = None) -> streams.Stream[K, R]:
        """Replace each value by the result of a function.

        Args:
            function: Gets the value.
            value: The serde of the results; without it, the one that fits the function's annotated return type.

        Example:
            >>> pieces = orders.map(lambda order: order["pieces"], value=tm.int64)
        """
        check_function(function, ".map()")
        serde = check_serde(value, ".map(value=): ") or result_serde(function)
        spec = StepSpec(kind="map", operator=lambda context: Map(context.name, function))
        return streams.Stream(replace(self.reference.add(spec), value=serde))

    def flat_map(self, function: Callable[[V], Iterable[R]], *, value: Serde[R] | None = None) -> streams.Stream[K, R]:
        """Replace each value by any number of values, which keep key, event time and headers.

        Args:
            function: Gets the value and returns an iterable of new values.
            value: The serde of the results.

        Example:
            >>> letters = orders.flat_map(lambda order: list(order["item"]))
        """
        check_function(function, ".flat_map()")
        serde = check_serde(value, ".flat_map(value=): ") or result_serde(function, each=True)
        spec = StepSpec(kind="flat_map", operator=lambda context: FlatMap(context.name, function))
        return streams.Stream(replace(self.reference.add(spec), value=serde))

    def map_record(
        self,
        function: Callable[[Record[K, V]], Record[K2, R]],
        *,
        key: Serde[K2] | None = None,
        value: Serde[R] | None = None,
    ) -> streams.Stream[K2, R]:
        """Replace each record: key, value, event time and headers.

        Keyed steps that follow repartition the stream.

        Args:
            function: Gets a `tm.Record` and returns one.
            key: The serde of the new keys.
            value: The serde of the new values.

        Example:
            >>> by_item = orders.map_record(lambda r: tm.Record(r.value["item"], r.key, r.timestamp), key=tm.utf8)
        """
        check_function(function, ".map_record()")
        spec = StepSpec(kind="map_record", operator=lambda context: MapRecord(context.name, function))
        return streams.Stream(self._rekeyed(spec, key, value, ".map_record"))

    def flat_map_record(
        self,
        function: Callable[[Record[K, V]], Iterable[Record[K2, R]]],
        *,
        key: Serde[K2] | None = None,
        value: Serde[R] | None = None,
    ) -> streams.Stream[K2, R]:
        """Replace each record by any number of records.

        Keyed steps that follow repartition the stream.

        Args:
            function: Gets a `tm.Record` and returns an iterable of them.
            key: The serde of the new keys.
            value: The serde of the new values.

        Example:
            >>> def both(record):
            ...     yield tm.Record(record.value["item"], record.value, record.timestamp)
            ...     yield tm.Record(record.value["customer"], record.value, record.timestamp)
            >>> keyed = orders.flat_map_record(both, key=tm.utf8, value=tm.json)
        """
        check_function(function, ".flat_map_record()")
        spec = StepSpec(kind="flat_map_record", operator=lambda context: FlatMapRecord(context.name, function))
        return streams.Stream(self._rekeyed(spec, key, value, ".flat_map_record"))

    def with_key(self, function: Callable[[V], K2 | None], *, key: Serde[K2] | None = None) -> streams.Stream[K2, V]:
        """Replace each key by the result of a function of the value.

        Keyed steps that follow repartition the stream by the new key.

        Args:
            function: Gets the value; None is a record without a key.
            key: The serde of the new keys.

        Example:
            >>> by_customer = orders.with_key(lambda order: order["customer"], key=tm.utf8)
        """
        check_function(function, ".with_key()")
        spec = StepSpec(kind="with_key", operator=lambda context: WithKey(context.name, function), passes_on=True)
        return streams.Stream(replace(self._rekeyed(spec, key, None, ".with_key"), value=self.reference.value))

    def with_timestamp(self, function: Callable[[V], Any] | FromRecord[Record[K, V]]) -> streams.Stream[K, V]:
        """Replace each event time by the result of a function.

        Keys stay, so nothing is repartitioned. Watermarks stay those of the sources: a record that is now older than
        its watermark is late downstream.

        Args:
            function: Gets the value, or the whole record where it is made by `tm.from_record`. Returns milliseconds
                since 1970 or an aware datetime; None drops the record.

        Example:
            >>> timed = orders.with_timestamp(lambda order: order.get("at", 0))
        """
        check_time_function(function, ".with_timestamp()")
        spec = StepSpec(kind="with_timestamp", operator=lambda context: WithTimestamp(context.name, function))
        return streams.Stream(self.reference.add(spec))

    def peek(self, function: Callable[[V], object]) -> streams.Stream[K, V]:
        """Call a function with each value, and pass the records on unchanged.

        Args:
            function: Gets the value; its result is ignored. It may be called again after a failure.

        Example:
            >>> seen = orders.peek(print)
        """
        check_function(function, ".peek()")
        spec = StepSpec(kind="peek", operator=lambda context: Peek(context.name, function), passes_on=True)
        return streams.Stream(self.reference.add(spec))

    def split(
        self, *, default: str | None = None, **predicates: Callable[[V], object]
    ) -> dict[str, streams.Stream[K, V]]:
        """Divides the stream: each record goes to the first branch whose predicate is true.

        Args:
            default: The name of a branch for the records that no predicate takes; without it they are dropped.
            predicates: A function of the value for each branch, by the name of the branch.

        Returns:
            The branches by name.

        Raises:
            TopologyError: There is no predicate, or `default` is also the name of one.

        Example:
            >>> branches = orders.split(large=lambda order: order["pieces"] >= 10, default="small")
            >>> branches["large"].to("large-orders")
        """
        for name, predicate in predicates.items():
            check_function(predicate, f".split({name}=)")
        names = (*predicates, *(() if default is None else (default,)))
        if not predicates or default in predicates:
            raise TopologyError(
                ".split() needs at least one name=predicate"
                if not predicates
                else f".split(): {default!r} is a predicate's name already; the default needs one of its own"
            )
        functions = list(predicates.values())
        spec = StepSpec(
            kind="split",
            operator=lambda context: Split(context.name, functions, rest=default is not None),
            ports=names,
            passes_on=True,
        )
        reference = self.reference.add(spec)
        return {name: streams.Stream(replace(reference, port=port)) for port, name in enumerate(names)}

    def merge(self, *others: streams.Stream[K, V2]) -> streams.Stream[K, V | V2]:
        """Merge this stream with others into one.

        Args:
            others: Streams of the same program.

        Raises:
            TopologyError: A stream is of another program.

        Example:
            >>> events = orders.merge(payments)
        """
        joined = tuple(other.reference for other in others)
        if any(reference.builder is not self.reference.builder for reference in joined):
            raise TopologyError(".merge(): one of the streams belongs to another app")
        spec = StepSpec(kind="merge", operator=lambda context: Merge(), calls=False, passes_on=True)
        flows = (self.reference, *joined)
        same_key = all(
            (reference.key, reference.window) == (self.reference.key, self.reference.window) for reference in flows
        )
        return streams.Stream(
            replace(
                self.reference.add(spec, *joined),
                key=self.reference.key if same_key else None,
                value=self.reference.value
                if all(reference.value == self.reference.value for reference in flows)
                else None,
                window=self.reference.window if same_key else None,
                rekeyed=any(reference.rekeyed for reference in flows),
            )
        )

    def _rekeyed(self, spec: StepSpec, key: Serde[Any] | None, value: Serde[Any] | None, what: str) -> StreamReference:
        return replace(
            self.reference.add(spec),
            key=check_key_serde(key, f"{what}(key=): "),
            value=check_serde(value, f"{what}(value=): "),
            window=None,
            rekeyed=True,
        )
