"""`Stream`: the records of a topic, or what a step made of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, Literal, overload

from typing_extensions import ParamSpec, TypeVar

from ..aggregates.deduplicate import deduplicated
from ..building.sinks import effect, sink
from ..building.stream_reference import Grouping, check_function, repartition
from ..errors import TopologyError
from ..graph.calls import CallContext
from ..graph.circuit_breaker import CircuitBreaker
from ..graph.target import Target
from ..joins.temporal_steps import versioned_rows
from ..processors.processor import Processor
from ..processors.steps import processing
from ..record import Record
from ..serdes.base import Serde
from ..serdes.hashable import check_key_serde
from ..stateless.stateless import (
    ForEach,
    ForEachRecord,
)
from ..stateless.steps import map_async, map_batch
from ..tables.steps import (
    table_rows,
)
from ..targets.steps import target_sink
from ..time.durations import Duration
from . import grouped as groups
from . import table as tables
from .handle import Handle, Stored
from .stream_joins import StreamJoins
from .transformations import Transformations

__all__ = ["Joined", "Processed", "StoredStream", "Stream"]

K = TypeVar("K", default=Any)
K2 = TypeVar("K2", default=Any)
V = TypeVar("V", default=Any)
R = TypeVar("R", default=Any)
P = ParamSpec("P")


class Stream(Transformations[K, V], StreamJoins[K, V], Generic[K, V]):
    """A stream of records with keys of type K and values of type V.

    `app.stream()` and most steps return one. It is a value: any number of steps can be added to it. Functions get the
    value of a record; the methods that end in `_record` give them the whole `tm.Record`.

    Example:
        >>> large = orders.filter(lambda order: order["pieces"] >= 10)
        >>> large.map(lambda order: order["item"]).to("items", value=tm.utf8)
    """

    def deduplicate(self, within: Duration, *, by: Callable[[V], Any] | None = None) -> Stream[K, V]:
        """Keep the first record per key within a time, and drop and count the others.

        A record is dropped when one of its key was passed on whose event time is at most `within` away, older or newer.
        A record that is late by more than `within` may be passed on although it is a duplicate.

        Args:
            within: The time within which a record is a duplicate.
            by: Tells records of one key apart: only those with an equal result are duplicates. Records for which it
                gives None are passed on.

        Example:
            >>> once = orders.deduplicate("1h", by=lambda order: order["item"])
        """
        return Stream(deduplicated(Grouping(self.reference), within, by))

    def repartition(self, partitions: int | None = None) -> Stream[K, V]:
        """Write the records to an internal topic by their key, and read them from there.

        Keyed steps do this by themselves where it is needed.

        Args:
            partitions: The number of partitions of the topic; without it, that of the topics it meets.

        Raises:
            TopologyError: The number is less than 1.

        Example:
            >>> wide = orders.repartition(partitions=32)
        """
        if partitions is not None and partitions < 1:
            raise TopologyError(f".repartition(): a topic cannot have {partitions} partitions")
        return Stream(repartition(self.reference, partitions=partitions))

    def group_by(self, function: Callable[[V], K2 | None], *, key: Serde[K2] | None = None) -> groups.Grouped[K2, V]:
        """Group the records by the result of a function, which becomes their key.

        The records are repartitioned. Those for which the function gives None are dropped and counted.

        Args:
            function: Gets the value.
            key: The serde of the new keys.

        Example:
            >>> per_customer = orders.group_by(lambda order: order["customer"], key=tm.utf8).count()
        """
        check_function(function, ".group_by()")
        return groups.Grouped(Grouping(self.reference, function, check_key_serde(key, ".group_by(key=): ")))

    def group_by_key(self) -> groups.Grouped[K, V]:
        """Group the records by the key that they have.

        They are repartitioned only where the key was changed before. Records without a key are dropped and counted.

        Example:
            >>> changes_per_order = orders.group_by_key().count()
        """
        return groups.Grouped(Grouping(self.reference))

    @overload
    def map_async(
        self,
        function: Callable[[V], Awaitable[R]],
        *,
        in_flight: int = 100,
        timeout: Duration = "30s",
        retries: int = 0,
        backoff: Duration = "100ms",
        rate_limit: str | None = None,
        circuit_breaker: CircuitBreaker | None = None,
        ordered: bool = True,
        journal: Literal[False] = False,
        value: Serde[R] | None = None,
    ) -> StoredStream[K, R]: ...
    @overload
    def map_async(
        self,
        function: Callable[[V, CallContext], Awaitable[R]],
        *,
        in_flight: int = 100,
        timeout: Duration = "30s",
        retries: int = 0,
        backoff: Duration = "100ms",
        rate_limit: str | None = None,
        circuit_breaker: CircuitBreaker | None = None,
        ordered: bool = True,
        journal: Literal[True],
        value: Serde[R] | None = None,
    ) -> StoredStream[K, R]: ...
    def map_async(
        self,
        function: Callable[..., Awaitable[Any]],
        *,
        in_flight: int = 100,
        timeout: Duration = "30s",
        retries: int = 0,
        backoff: Duration = "100ms",
        rate_limit: str | None = None,
        circuit_breaker: CircuitBreaker | None = None,
        ordered: bool = True,
        journal: bool = False,
        value: Serde[Any] | None = None,
    ) -> StoredStream[K, Any]:
        """Replace each value by the result of a coroutine function, with many calls at a time.

        The results are exactly once: a record that waits for its call is part of the step's state. The function itself
        may be called again for the same value, by a retry or after a crash. If the function is also an asynchronous
        context manager, it is entered before its first call and exited at the end, to open and close sessions and
        pools.

        Args:
            function: Gets the value.
            in_flight: The largest number of calls at a time, per task.
            timeout: An attempt that takes longer has failed.
            retries: How often a failed attempt is repeated; after that the record is one that the step cannot process.
            backoff: The delay before the first retry; it doubles with each further one.
            rate_limit: The most attempts of this step per process, such as "100/s" or "30/m"; others wait.
            circuit_breaker: When no calls are made because too many have failed; records wait meanwhile.
            ordered: Sends results in the order of the records; with False, as they arrive.
            journal: Commits each result before it is sent, so that a call whose result is committed is not made again.
                The function also gets a `CallContext` with an idempotency key. Each result takes three commits.
            value: The serde of the results.

        Example:
            >>> async def with_rate(order):
            ...     return {**order, "rate": 1.1}  # here: ask a service
            >>> rated = orders.map_async(with_rate, in_flight=50, timeout="5s", retries=3, value=tm.json)
        """
        return StoredStream(
            map_async(
                self.reference,
                function,
                in_flight=in_flight,
                timeout=timeout,
                retries=retries,
                backoff=backoff,
                rate_limit=rate_limit,
                circuit_breaker=circuit_breaker,
                ordered=ordered,
                journal=journal,
                value=value,
            )
        )

    @overload
    def map_batch(
        self,
        function: Callable[[list[V]], Iterable[R]],
        *,
        max_size: int = 1_000,
        max_wait: Duration = 0,
        value: Serde[R] | None = None,
    ) -> StoredStream[K, R]: ...
    @overload
    def map_batch(
        self,
        function: Callable[[Any], Any],
        *,
        max_size: int = 1_000,
        max_wait: Duration = 0,
        value: Serde[R] | None = None,
    ) -> StoredStream[K, R]: ...
    def map_batch(
        self,
        function: Callable[[Any], Any],
        *,
        max_size: int = 1_000,
        max_wait: Duration = 0,
        value: Serde[Any] | None = None,
    ) -> StoredStream[K, Any]:
        """Replace values by the results of a function of many of them, such as a model.

        When the function fails, it is called with halves of the batch, to find the record that it cannot process.

        Args:
            function: Gets a list of values; returns one result per value, in the same order: an iterable, an array, or
                a series or frame of pyarrow, polars or pandas. If its argument is annotated as a `polars.DataFrame`,
                `pandas.DataFrame`, `pyarrow.RecordBatch` or `pyarrow.Table`, it gets that, with a row per value and a
                column per field; a value without fields is in the column "value".
            max_size: The largest number of values in a batch.
            max_wait: How long a batch waits for `max_size` values; with 0 it is what has just arrived.
            value: The serde of the results.

        Raises:
            TopologyError: The argument is annotated as a frame that is not one of these, or pyarrow is not installed.

        Example:
            >>> sizes = orders.map_batch(lambda batch: [order["pieces"] for order in batch], max_size=256)
            >>> import polars as pl
            >>> def heavy(batch: pl.DataFrame) -> pl.Series:
            ...     return batch["pieces"] > 10
            >>> flags = orders.map_batch(heavy, value=tm.json)
        """
        return StoredStream(map_batch(self.reference, function, max_size=max_size, max_wait=max_wait, value=value))

    def to_table(self, *, history: Duration | None = None) -> tables.Table[K, V]:
        """Turn the stream into a table with the newest value per key; a null value deletes the row.

        Args:
            history: How far back the table remembers its rows, for `join(..., as_of=True)`. With it, the newest value
                is the one with the largest event time, and not the one that arrived last.

        Example:
            >>> newest = orders.to_table().named("newest-order")
        """
        grouping = Grouping(self.reference)
        return tables.Table(table_rows(grouping) if history is None else versioned_rows(grouping, history))

    def process(self, processor: Callable[P, Processor[K, V, R]], *args: P.args, **kwargs: P.kwargs) -> Processed[K, R]:
        """Add a step of your own, with keyed state and timers.

        Args:
            processor: A subclass of `tm.Processor`, of which an instance is made per task.
            args: Positional arguments for the class.
            kwargs: Keyword arguments for the class.

        Raises:
            TopologyError: It is not a processor, or does not take these arguments.

        Example:
            >>> class Total(tm.Processor):
            ...     pieces = tm.ValueState(int, default=0)
            ...     def process(self, order, ctx):
            ...         self.pieces.set(self.pieces.get() + order["pieces"])
            ...         yield self.pieces.get()
            >>> totals = orders.process(Total)
        """
        return Processed(processing(self.reference, processor, args, kwargs))

    def to(
        self,
        topic: str | Callable[[Record[K, V]], str],
        *,
        key: Serde[Any] | None = None,
        value: Serde[Any] | None = None,
        partition: Callable[[Record[K, V]], int] | None = None,
        headers: Callable[[Record[K, V]], Any] | None = None,
    ) -> Handle:
        """Write the records to a topic.

        Args:
            topic: The topic, or a function that chooses one for each record.
            key: The serde of the keys; without it the one that is known of them, else text, numbers and bytes as they
                are.
            value: The serde of the values; without it the one that is known of them, else JSON.
            partition: Chooses the partition of each record; without it, Kafka's hash of the key does.
            headers: Gives the headers of each record; without it they are passed on.

        Raises:
            TopologyError: The name of the topic is not valid.

        Example:
            >>> orders.to("orders-copy")
            >>> orders.to(lambda record: f"orders-{record.value['item']}", value=tm.json)
        """
        return Handle(self.reference.to(sink(self.reference, topic, key, value, partition, headers)))

    def sink(self, function: Callable[[V], object] | Target) -> Handle:
        """Write the records to a system outside Kafka, or call a function with each value.

        A target such as `tm.postgres(...)` has each record exactly once. The effect of a function is at least once:
        after a failure it may be called again for the same value.

        Args:
            function: The target, or a function that gets the value.

        Raises:
            TopologyError: The target cannot take these records, or it is neither a target nor a function.

        Example:
            >>> orders.sink(print)
            >>> orders.sink(tm.postgres("postgresql://localhost/shop", table="orders", columns={"item": "text"}))
        """
        if isinstance(function, Target):
            return Handle(self.reference.to(target_sink(self.reference, function, table=False)))
        check_function(function, ".sink()")
        return Handle(self.reference.to(effect(self.reference, "sink", lambda name: ForEach(name, function))))

    def sink_record(self, function: Callable[[Record[K, V]], object]) -> Handle:
        """Call a function with each record, for effects outside Kafka.

        The effect is at least once, as for `sink`.

        Args:
            function: Gets a `tm.Record`.

        Example:
            >>> orders.sink_record(lambda record: print(record.key, record.timestamp))
        """
        check_function(function, ".sink_record()")
        return Handle(self.reference.to(effect(self.reference, "sink", lambda name: ForEachRecord(name, function))))


class StoredStream(Stream[K, V], Stored, Generic[K, V]):
    """A stream that comes out of a step with a store."""


class Processed(StoredStream[K, V], Generic[K, V]):
    """What a processor yields: a stream, with side outputs.

    Example:
        >>> class Check(tm.Processor):
        ...     def process(self, order, ctx):
        ...         yield order if order["pieces"] > 0 else tm.side("wrong", order)
        >>> checked = orders.process(Check)
        >>> checked.side("wrong").to("wrong-orders", value=tm.json)
    """

    def side(self, name: str) -> Stream[K, Any]:
        """Return the stream of what the processor sends to a side output.

        Args:
            name: The name that `tm.side(name, value)` has in the processor.

        Example:
            >>> class Audit(tm.Processor):
            ...     def process(self, order, ctx):
            ...         yield tm.side("audit", order["customer"])
            >>> orders.process(Audit).side("audit").to("audit", value=tm.utf8)
        """
        sides = self.reference.step.sides
        if name not in sides:
            sides.append(name)
        return Stream(replace(self.reference, port=sides.index(name) + 1, value=None))


class Joined(Stream[K, V], Stored, Generic[K, V]):
    """The result of a join: a stream whose step keeps state.

    Example:
        >>> joined = orders.join(payments, lambda order, payment: order["item"], within="1h").in_memory()
    """
