"""The fluent handles: `Stream`, `Grouped`, `WindowedStream`, `Table`.

Each method adds one step to the program and returns a handle on what comes out of it; handles are values and can be
used any number of times. They are in one file because each gives the next. Nothing here runs: the wiring is in
`building/` and in the `steps.py` of each package, what a step does in the operators' files.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from typing import Any, Generic, Literal, cast, overload

from typing_extensions import ParamSpec, Self, TypeVar

from ..aggregates.aggregators import Aggregator
from ..aggregates.deduplicate import deduplicated
from ..aggregates.fold import Fold, counting
from ..aggregates.steps import aggregation, fold, reduction
from ..building.flow import Flow, Grouping, check_function, plain_step, repartition
from ..building.sinks import effect, sink
from ..cogroup.cogroup import Cogrouping, choosing, cogroup_in_windows
from ..errors import TopologyError
from ..joins.steps import join_global, join_streams, join_table, refuse
from ..joins.table_join import How
from ..joins.table_steps import joined_tables
from ..joins.temporal_steps import temporal_join, versioned_rows
from ..policy import ErrorPolicy
from ..processors.processor import Processor
from ..processors.steps import processing
from ..record import Record, Windowed
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.hashable import check_key_serde
from ..serdes.inference import result_serde
from ..stateless.stateless import (
    Call,
    CallRecord,
    Each,
    Filter,
    FlatMap,
    FlatMapRecord,
    Map,
    MapRecord,
    Merge,
    Split,
    TableFilter,
    TableMap,
    WithKey,
    WithTimestamp,
)
from ..stateless.steps import map_async, map_batch
from ..stateless.to_stream import rows_of
from ..tables.steps import (
    group_aggregation,
    group_counting,
    group_fold,
    group_reduction,
    grouped_rows,
    suppression,
    table_rows,
)
from ..time.durations import Duration
from ..time.event_time import FromRecord, check_time_function
from ..time.every import Every
from ..time.join_windows import Within
from ..time.windows import Emit, SlidingWindows, TimeWindows, Windows, emitting
from ..windows.steps import Late, windowed_fold

__all__ = [
    "Cogrouped",
    "GlobalTable",
    "Grouped",
    "Handle",
    "Joined",
    "Processed",
    "Stream",
    "Table",
    "TableGrouped",
    "WindowedCogrouped",
    "WindowedStream",
    "WindowedTable",
]

K = TypeVar("K", default=Any)
K2 = TypeVar("K2", default=Any)
V = TypeVar("V", default=Any)
V2 = TypeVar("V2", default=Any)
A = TypeVar("A", default=Any)
R = TypeVar("R", default=Any)
P = ParamSpec("P")


class Handle:
    """A place in the program."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow

    def named(self, name: str) -> Self:
        """Names the step that was just made, and with it its store and its topics."""
        self.flow.draft.rename(self.flow.step, name)
        return self

    def on_error(self, policy: ErrorPolicy) -> Self:
        """What happens to a record that the step that was just made cannot process: `tm.fail` or `tm.skip`.

        It holds for the step's repartition or, with a table, for its source, too. Other steps do what the application
        says with `App(on_error=)`.
        """
        if not isinstance(policy, ErrorPolicy):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f".on_error() takes tm.fail or tm.skip, not {policy!r}")
        self.flow.step.policy = policy
        return self


class Stored(Handle):
    """A place after a step that keeps state."""

    def in_memory(self) -> Self:
        """Keeps the store in memory, with the same changelog, instead of on disk."""
        if not self.flow.step.durable:
            raise TopologyError(f".in_memory(): a {self.flow.step.kind} has no store")
        self.flow.step.store = "memory"
        return self


class Stream(Handle, Generic[K, V]):
    """A stream of records with keys of type K and values of type V. Functions get the value."""

    def filter(self, function: Callable[[V], object]) -> Stream[K, V]:
        """The records for whose value the function is true."""
        check_function(function, ".filter()")
        return Stream(self.flow.to(plain_step(self.flow, "filter", lambda s: Filter(s.name, function))))

    def map(self, function: Callable[[V], R], *, value: Serde[R] | None = None) -> Stream[K, R]:
        """Replaces each value by what the function makes of it."""
        check_function(function, ".map()")
        serde = check_serde(value, ".map(value=): ") or result_serde(function)
        flow = self.flow.to(plain_step(self.flow, "map", lambda s: Map(s.name, function)))
        return Stream(replace(flow, value=serde))

    def flat_map(self, function: Callable[[V], Iterable[R]], *, value: Serde[R] | None = None) -> Stream[K, R]:
        """Replaces each value by the values that the function gives."""
        check_function(function, ".flat_map()")
        serde = check_serde(value, ".flat_map(value=): ") or result_serde(function, each=True)
        flow = self.flow.to(plain_step(self.flow, "flat_map", lambda s: FlatMap(s.name, function)))
        return Stream(replace(flow, value=serde))

    def map_record(
        self,
        function: Callable[[Record[K, V]], Record[K2, R]],
        *,
        key: Serde[K2] | None = None,
        value: Serde[R] | None = None,
    ) -> Stream[K2, R]:
        """Replaces each record: key, value, event time and headers."""
        check_function(function, ".map_record()")
        step = plain_step(self.flow, "map_record", lambda s: MapRecord(s.name, function))
        return Stream(self._replaced(step, key, value, ".map_record"))

    def flat_map_record(
        self,
        function: Callable[[Record[K, V]], Iterable[Record[K2, R]]],
        *,
        key: Serde[K2] | None = None,
        value: Serde[R] | None = None,
    ) -> Stream[K2, R]:
        """Replaces each record by the records that the function gives."""
        check_function(function, ".flat_map_record()")
        step = plain_step(self.flow, "flat_map_record", lambda s: FlatMapRecord(s.name, function))
        return Stream(self._replaced(step, key, value, ".flat_map_record"))

    def with_key(self, function: Callable[[V], K2 | None], *, key: Serde[K2] | None = None) -> Stream[K2, V]:
        """Replaces each key by what the function makes of the value. Keyed steps that follow repartition by it."""
        check_function(function, ".with_key()")
        step = plain_step(self.flow, "with_key", lambda s: WithKey(s.name, function))
        flow = replace(self._replaced(step, key, None, ".with_key"), value=self.flow.value)
        return Stream(flow)

    def with_timestamp(self, function: Callable[[V], Any] | FromRecord[Record[K, V]]) -> Stream[K, V]:
        """Replaces each event time by what the function makes of the value, or of the record (`tm.from_record`).

        Times are what `timestamp=` of a source may give; None drops the record. Keys stay, so nothing is repartitioned
        for it. Watermarks stay those of the sources: a record that is now older than they say is late downstream.
        """
        check_time_function(function, ".with_timestamp()")
        return Stream(self.flow.to(plain_step(self.flow, "with_timestamp", lambda s: WithTimestamp(s.name, function))))

    def peek(self, function: Callable[[V], object]) -> Stream[K, V]:
        """Calls the function with each value and passes the records on."""
        check_function(function, ".peek()")
        return Stream(self.flow.to(plain_step(self.flow, "peek", lambda s: Each(s.name, function))))

    def split(self, *, default: str | None = None, **predicates: Callable[[V], object]) -> dict[str, Stream[K, V]]:
        """A stream for each predicate: a record goes to the first that is true for its value.

        The records for which none is go to the stream called `default`, or nowhere.
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
        step = plain_step(self.flow, "split", lambda s: Split(s.name, functions, rest=default is not None), ports=names)
        return {name: Stream(replace(self.flow, step=step, port=port)) for port, name in enumerate(names)}

    def merge(self, *streams: Stream[K, V2]) -> Stream[K, V | V2]:
        """This stream and others as one."""
        others = tuple(stream.flow for stream in streams)
        if any(other.draft is not self.flow.draft for other in others):
            raise TopologyError(".merge(): one of the streams is of another program")
        step = plain_step(self.flow, "merge", lambda _s: Merge(), others=others)
        flows = (self.flow, *others)
        same_key = all((flow.key, flow.window) == (self.flow.key, self.flow.window) for flow in flows)
        return Stream(
            replace(
                self.flow.to(step),
                key=self.flow.key if same_key else None,
                value=self.flow.value if all(flow.value == self.flow.value for flow in flows) else None,
                window=self.flow.window if same_key else None,
                rekeyed=any(flow.rekeyed for flow in flows),
            )
        )

    def deduplicate(self, within: Duration, *, by: Callable[[V], Any] | None = None) -> Stream[K, V]:
        """The first record of each key within a time; with `by`, of each key and what the function makes of the value.

        A record is dropped, and counted, when such a one was passed on whose event time is at most `within` away, older
        or newer. Records for which `by` gives None are passed on. What comes late by more than `within` may be, too.
        """
        return Stream(deduplicated(Grouping(self.flow), within, by))

    def repartition(self, partitions: int | None = None) -> Stream[K, V]:
        """Sends the records through an internal topic, by their key."""
        if partitions is not None and partitions < 1:
            raise TopologyError(f".repartition(): a topic cannot have {partitions} partitions")
        return Stream(repartition(self.flow, partitions=partitions))

    def group_by(self, function: Callable[[V], K2 | None], *, key: Serde[K2] | None = None) -> Grouped[K2, V]:
        """Groups by what the function makes of the value; records for which that is None are dropped and counted."""
        check_function(function, ".group_by()")
        return Grouped(Grouping(self.flow, function, check_key_serde(key, ".group_by(key=): ")))

    def group_by_key(self) -> Grouped[K, V]:
        """Groups by the key the records have."""
        return Grouped(Grouping(self.flow))

    def map_async(
        self,
        function: Callable[[V], Awaitable[R]],
        *,
        in_flight: int = 100,
        timeout: Duration = "30s",
        retries: int = 0,
        backoff: Duration = "100ms",
        ordered: bool = True,
        value: Serde[R] | None = None,
    ) -> StoredStream[K, R]:
        """Replaces each value by what a coroutine function makes of it, at most `in_flight` calls at a time.

        An attempt that takes longer than `timeout` has failed. One that failed is made again up to `retries` times,
        after `backoff` and twice as long each further time; then the record is treated as any that a step cannot
        process. Results come in the order of the records, or with `ordered=False` as they are there.

        A function that is an asynchronous context manager too is entered before its first call and exited at the end,
        which is where sessions and pools are opened and closed.

        Exactly-once holds for the results: a record that waits for its call is part of the step's state. The function
        itself may be called again for the same value, by a retry or after a crash.
        """
        return StoredStream(
            map_async(
                self.flow,
                function,
                in_flight=in_flight,
                timeout=timeout,
                retries=retries,
                backoff=backoff,
                ordered=ordered,
                value=value,
            )
        )

    def map_batch(
        self,
        function: Callable[[list[V]], Iterable[R]],
        *,
        max_size: int = 1_000,
        max_wait: Duration = 0,
        value: Serde[R] | None = None,
    ) -> StoredStream[K, R]:
        """Replaces values by what a function makes of a list of them: one result a value, in their order.

        A list has at most `max_size` values. It waits up to `max_wait` for so many; without that it is what has just
        come. Where the function fails it is called with halves of the list, to find the record to blame.
        """
        return StoredStream(map_batch(self.flow, function, max_size=max_size, max_wait=max_wait, value=value))

    def to_table(self, *, history: Duration | None = None) -> Table[K, V]:
        """The newest value of each key; a null value deletes the key.

        With a `history` the newest is that with the largest time, and the table remembers that long what its rows were,
        for `join(..., as_of=True)`.
        """
        grouping = Grouping(self.flow)
        return Table(table_rows(grouping) if history is None else versioned_rows(grouping, history))

    @overload
    def join(
        self,
        other: Stream[K, V2],
        function: Callable[[V, V2], R],
        *,
        within: Within,
        grace: Duration = 0,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: Stream[K, V2],
        function: Callable[[V, V2 | None], R],
        *,
        within: Within,
        grace: Duration = 0,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: Stream[K, V2],
        function: Callable[[V | None, V2 | None], R],
        *,
        within: Within,
        grace: Duration = 0,
        how: Literal["outer"],
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: Table[K, V2],
        function: Callable[[V, V2], R],
        *,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: Table[K, V2],
        function: Callable[[V, V2 | None], R],
        *,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: Table[K, V2],
        function: Callable[[V, V2], R],
        *,
        as_of: Literal[True],
        grace: Duration = 0,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: Table[K, V2],
        function: Callable[[V, V2 | None], R],
        *,
        as_of: Literal[True],
        grace: Duration = 0,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: GlobalTable[K2, V2],
        function: Callable[[V, V2], R],
        *,
        on: Callable[[V], K2 | None] | None = None,
        how: Literal["inner"] = "inner",
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    @overload
    def join(
        self,
        other: GlobalTable[K2, V2],
        function: Callable[[V, V2 | None], R],
        *,
        on: Callable[[V], K2 | None] | None = None,
        how: Literal["left"],
        value: Serde[R] | None = None,
    ) -> Joined[K, R]: ...
    def join(
        self,
        other: Stream[K, Any] | Table[K, Any] | GlobalTable[Any, Any],
        function: Callable[[Any, Any], Any],
        *,
        within: Within | None = None,
        as_of: bool = False,
        grace: Duration = 0,
        on: Callable[[Any], Any] | None = None,
        how: How = "inner",
        value: Serde[Any] | None = None,
    ) -> Joined[K, Any]:
        """Joins this stream with another or with a table, by key; `function` gets both values.

        With another stream: records whose event times are at most `within` apart, or, given a pair of durations, those
        of the other stream that are at most so much (before, after) this one's. Records may be late by `grace`. With a
        table: the row that the key has when the record comes, or, with `as_of=True`, the one it had at the record's
        event time; with a `grace` records wait that long, by the stream's time, for what the table may still learn of
        its past. That needs a table with a `history`. With a global table: the row under the key that `on` gives for
        the value, or under the record's own. An "outer" side (`how`: "left", "outer") also gives records that found
        nothing; the missing value is None. The function must not change its arguments.
        """
        match other:
            case Stream():
                refuse(".join() with a stream", as_of=as_of or None, on=on)
                return Joined(join_streams(self.flow, other.flow, function, within, grace, how, value))
            case Table():
                refuse(".join() with a table", within=within, on=on)
                if as_of:
                    return Joined(temporal_join(self.flow, other.flow, function, how=how, grace=grace, value=value))
                refuse(".join() with a table, without as_of=True,", grace=grace or None)
                return Joined(join_table(self.flow, other.flow, function, how, value))
            case GlobalTable():
                refuse(".join() with a global table", within=within, grace=grace or None, as_of=as_of or None)
                return Joined(join_global(self.flow, other.flow, function, on, how, value))
            case _:
                raise TopologyError(f".join() takes a stream or a table, not {other!r}")

    def process(self, processor: Callable[P, Processor[K, V, R]], *args: P.args, **kwargs: P.kwargs) -> Processed[K, R]:
        """Runs a step of one's own. The class is called with the further arguments, once for each task."""
        return Processed(processing(self.flow, processor, args, kwargs))

    def to(
        self,
        topic: str | Callable[[Record[K, V]], str],
        *,
        key: Serde[Any] | None = None,
        value: Serde[Any] | None = None,
        partition: Callable[[Record[K, V]], int] | None = None,
        headers: Callable[[Record[K, V]], Any] | None = None,
    ) -> Handle:
        """Writes the records to a topic, or to the one that the function chooses for each."""
        return Handle(self.flow.to(sink(self.flow, topic, key, value, partition, headers)))

    def sink(self, function: Callable[[V], object]) -> Handle:
        """Hands each value to the function."""
        check_function(function, ".sink()")
        return Handle(self.flow.to(effect(self.flow, "sink", lambda name: Call(name, function))))

    def sink_record(self, function: Callable[[Record[K, V]], object]) -> Handle:
        """Hands each record to the function."""
        check_function(function, ".sink_record()")
        return Handle(self.flow.to(effect(self.flow, "sink", lambda name: CallRecord(name, function))))

    def _replaced(self, step: Any, key: Serde[Any] | None, value: Serde[Any] | None, what: str) -> Flow:
        return replace(
            self.flow.to(step),
            key=check_key_serde(key, f"{what}(key=): "),
            value=check_serde(value, f"{what}(value=): "),
            window=None,
            rekeyed=True,
        )


class StoredStream(Stream[K, V], Stored, Generic[K, V]):
    """A stream that comes out of a step with a store."""


class Processed(StoredStream[K, V], Generic[K, V]):
    """What a processor yields."""

    def side(self, name: str) -> Stream[K, Any]:
        """What it sends to the side output of this name."""
        sides = self.flow.step.sides
        if name not in sides:
            sides.append(name)
        return Stream(replace(self.flow, port=sides.index(name) + 1, value=None))


class Joined(Stream[K, V], Stored, Generic[K, V]):
    """What a join gives."""


class Grouped(Generic[K, V]):
    """Records of one key together, to be counted, reduced or aggregated."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping

    def named(self, name: str) -> Self:
        """Names the repartition topic, where one is needed."""
        self._grouping.name = name
        return self

    def window(self, windows: Windows) -> WindowedStream[K, V]:
        """Divides the records of each key by event time."""
        if not isinstance(windows, Windows):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f".window() takes windows such as tm.tumbling('1m'), not {windows!r}")
        return WindowedStream(self._grouping, windows, Emit())

    def deduplicate(self, within: Duration, *, by: Callable[[V], Any] | None = None) -> Stream[K, V]:
        """The first record of each group within a time, as `Stream.deduplicate` does it by the key there is."""
        return Stream(deduplicated(self._grouping, within, by))

    def count(self) -> Table[K, int]:
        """How many records each key has."""
        return Table(fold(self._grouping, "count", counting(auto), None))

    def reduce(self, function: Callable[[V, V], V | None], *, value: Serde[V] | None = None) -> Table[K, V]:
        """Combines the values of each key, two at a time; None deletes the key."""
        serde, folding = reduction(function, self._grouping, value)
        return Table(fold(self._grouping, "reduce", folding, serde))

    @overload
    def aggregate(
        self, initial: Callable[[], A], function: Callable[[A, V], A | None], /, *, value: Serde[A] | None = None
    ) -> Table[K, A]: ...
    @overload
    def aggregate(
        self, initial: A, function: Callable[[A, V], A | None], /, *, value: Serde[A] | None = None
    ) -> Table[K, A]: ...
    @overload
    def aggregate(self, **columns: Aggregator[Any]) -> Table[K, dict[str, Any]]: ...
    def aggregate(self, *arguments: Any, **columns: Any) -> Table[K, Any]:
        """Accumulates the values of each key: by a function of one's own, or by named columns of a row."""
        folding, serde = aggregation(arguments, columns)
        return Table(fold(self._grouping, "aggregate", folding, serde))

    def cogroup(
        self, function: Callable[[A, V], A | None], *others: tuple[Grouped[K, Any], Callable[[A, Any], A | None]]
    ) -> Cogrouped[K, A]:
        """Begins an aggregate that this stream and others work on, each with its own function of the accumulator.

        Others are given as pairs here, or one by one: `a.cogroup(f).cogroup(b, g)` is `a.cogroup(f, (b, g))`.
        """
        check_function(function, ".cogroup()")
        begun = Cogrouped[K, A]((self._grouping,), (function,))
        for pair in others:
            if not isinstance(pair, tuple) or len(pair) != 2:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TopologyError(f".cogroup() takes its own function, then pairs (grouped, function), not {pair!r}")
            begun = begun.cogroup(*pair)
        return begun

    @property
    def grouping(self) -> Grouping:
        """The records, on their way to where they meet."""
        return self._grouping


class Cogrouped(Generic[K, A]):
    """Records of several streams together by key, to be aggregated into one accumulator of type A."""

    def __init__(self, groupings: tuple[Grouping, ...], functions: tuple[Callable[[Any, Any], Any], ...]) -> None:
        self._groupings = groupings
        self._functions = functions

    def cogroup(self, grouped: Grouped[K, V2], function: Callable[[A, V2], A | None]) -> Cogrouped[K, A]:
        """Adds a stream and what its values do to the accumulator."""
        if not isinstance(grouped, Grouped):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f".cogroup() takes a grouped stream, as from stream.group_by(...), not {grouped!r}")
        check_function(function, ".cogroup()")
        return Cogrouped((*self._groupings, grouped.grouping), (*self._functions, function))

    def window(self, windows: Windows) -> WindowedCogrouped[K, A]:
        """Divides the records of each key by event time."""
        if not isinstance(windows, Windows):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"cogrouped streams take windows such as tm.tumbling('1m'), not {windows!r}")
        return WindowedCogrouped(self._groupings, self._functions, windows, Emit())

    def aggregate(self, initial: Callable[[], A] | A, /, *, value: Serde[A] | None = None) -> Table[K, A]:
        """The accumulator of each key. It begins as `initial`, which is called if it can be; None deletes the key."""
        together = Grouped[K, Any](Cogrouping(self._groupings, nulls=False))
        serde = check_serde(value, ".aggregate(value=): ") or result_serde(self._functions[0])
        return together.aggregate(initial, choosing(self._functions), value=serde)


class WindowedCogrouped(Generic[K, A]):
    """Records of several streams together by key and window."""

    def __init__(
        self,
        groupings: tuple[Grouping, ...],
        functions: tuple[Callable[[Any, Any], Any], ...],
        windows: Windows,
        emit: Emit,
    ) -> None:
        self._groupings = groupings
        self._functions = functions
        self._windows = windows
        self._emit = emit

    def emit(self, when: Literal["update", "close"] | Every) -> WindowedCogrouped[K, A]:
        """When results are sent: on every "update", once on "close", or with `tm.every("5s")` at intervals."""
        return WindowedCogrouped(self._groupings, self._functions, self._windows, emitting(when))

    def aggregate(
        self,
        initial: Callable[[], A] | A,
        /,
        *,
        merge: Callable[[A, A], A | None] | None = None,
        value: Serde[A] | None = None,
    ) -> WindowedTable[K, A]:
        """The accumulator of each key and window. It begins as `initial`, which is called if it can be.

        Sessions need `merge`, which makes one accumulator of two. In tumbling and hopping windows with results on every
        update, a record is late when its own stream has closed its window; else when the streams together have.
        """
        function = choosing(self._functions)
        serde = check_serde(value, ".aggregate(value=): ") or result_serde(self._functions[0])
        windows = self._windows
        if self._emit.on_update and isinstance(windows, TimeWindows):
            return WindowedTable(cogroup_in_windows(self._groupings, windows, initial, function, serde))
        together = Cogrouping(self._groupings, nulls=not isinstance(windows, SlidingWindows))
        stream = WindowedStream[K, Any](together, windows, self._emit)
        return stream.aggregate(initial, function, merge=merge, value=serde)


class WindowedStream(Generic[K, V]):
    """Records of one key and window together."""

    def __init__(self, grouping: Grouping, windows: Windows, emit: Emit, late: Late | None = None) -> None:
        self._grouping = grouping
        self._windows = windows
        self._emit = emit
        self._late = late

    def emit(
        self, when: Literal["update", "close"] | Every, *, expired: Literal["emit", "drop"] = "emit"
    ) -> WindowedStream[K, V]:
        """When results are sent: on every "update", once on "close", or with `tm.every("5s")` at intervals.

        At intervals each window's newest result is sent at most once in so much time of the wall clock, if it has
        changed since. A jump in time may close windows and end their retention at once. Kafka Streams does not send
        these (sessions: if it deletes the segment they are in): neither does Tidemill with `expired="drop"`.
        """
        return WindowedStream(self._grouping, self._windows, emitting(when, expired), self._late)

    def late(self, *, to: str, key: Serde[Any] | None = None, value: Serde[Any] | None = None) -> WindowedStream[K, V]:
        """Writes records that are late for all their windows to a topic, as they came.

        They count as dropped all the same. Key and value are written as the grouped stream has them.
        """
        return WindowedStream(self._grouping, self._windows, self._emit, Late(to, key, value))

    def count(self) -> WindowedTable[K, int]:
        """How many records each key has in each window."""
        return self._table("count", counting(auto), None)

    def reduce(self, function: Callable[[V, V], V | None], *, value: Serde[V] | None = None) -> WindowedTable[K, V]:
        """Combines the values of each key and window, two at a time; None deletes the result."""
        serde, folding = reduction(function, self._grouping, value)
        return self._table("reduce", folding, serde)

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        function: Callable[[A, V], A | None],
        /,
        *,
        merge: Callable[[A, A], A | None] | None = None,
        value: Serde[A] | None = None,
    ) -> WindowedTable[K, A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        function: Callable[[A, V], A | None],
        /,
        *,
        merge: Callable[[A, A], A | None] | None = None,
        value: Serde[A] | None = None,
    ) -> WindowedTable[K, A]: ...
    @overload
    def aggregate(self, **columns: Aggregator[Any]) -> WindowedTable[K, dict[str, Any]]: ...
    def aggregate(self, *arguments: Any, **columns: Any) -> WindowedTable[K, Any]:
        """Accumulates the values of each key and window: by a function of one's own, or by named columns of a row.

        Sessions need `merge`, which makes one result of two: it is called with what there is, at first `initial`, and
        each session that a record joins, oldest first.
        """
        folding, serde = aggregation(arguments, columns)
        return self._table("aggregate", folding, serde)

    def _table(self, kind: str, folding: Fold, serde: Serde[Any] | None) -> WindowedTable[K, Any]:
        flow = windowed_fold(self._grouping, self._windows, self._emit, self._late, kind, folding, serde)
        return WindowedTable(flow)


class Table(Stored, Generic[K, V]):
    """Rows by key: what each key's value is now, and every change of it. Functions get the value, never None."""

    def filter(self, function: Callable[[V], object]) -> Table[K, V]:
        """The rows for whose value the function is true."""
        check_function(function, ".filter()")

        def build(settled: Any) -> TableFilter:
            return TableFilter(settled.name, function, updates=settled.updates_out)

        return Table(self.flow.to(plain_step(self.flow, "filter", build, asks="old")))

    def map(self, function: Callable[[V], R], *, value: Serde[R] | None = None) -> Table[K, R]:
        """Replaces the value of each row; None deletes the row."""
        check_function(function, ".map()")
        serde = check_serde(value, ".map(value=): ") or result_serde(function)

        def build(settled: Any) -> TableMap:
            return TableMap(settled.name, function, updates_in=settled.updates_in, updates_out=settled.updates_out)

        return Table(replace(self.flow.to(plain_step(self.flow, "map", build, asks="same")), value=serde))

    def suppress(self, *, until: Duration, max_records: int | None = None, max_bytes: int | None = None) -> Self:
        """Holds changes back, so that of several only the newest is sent on.

        `until="close"`, for tables with windows: the last result of each window, once, when it closes; nothing for a
        window that was deleted before. `until="10s"`: the newest row of a key, 10 s of stream time after its first
        change that was held back. With `max_records` or `max_bytes` (of keys and values, in each task) the rows that
        are held longest are sent early when there are more.
        """
        return type(self)(suppression(self.flow, until, max_records, max_bytes))

    def stored(self, name: str) -> Table[K, V]:
        """Keeps the rows in a store of this name, for queries. Tables made by keyed steps have one already."""
        return Table[K, V](table_rows(Grouping(rows_of(self.flow)))).named(name)

    @overload
    def join(
        self, table: Table[K, V2], function: Callable[[V, V2], R | None], *, value: Serde[R] | None = None
    ) -> Table[K, R]: ...
    @overload
    def join(
        self,
        table: Table[K2, V2],
        function: Callable[[V, V2], R | None],
        *,
        on: Callable[[V], K2 | None],
        value: Serde[R] | None = None,
    ) -> Table[K, R]: ...
    @overload
    def join(
        self,
        table: Table[K2, V2],
        on: Callable[[V], K2 | None],
        function: Callable[[V, V2], R | None],
        *,
        value: Serde[R] | None = None,
    ) -> Table[K, R]: ...
    def join(self, table: Table[Any, Any], *functions: Any, **options: Any) -> Table[K, Any]:
        """The rows that have a partner in the other table, as the function joins them.

        The partner is the row under the same key or, with `on`, under the key that `on` gives for this table's row; a
        row for which that is None has none. A change on either side changes the joined row; None from the function
        deletes it. Topics of tables that are joined under the same key must have the same number of partitions.
        """
        return self._joined(table, functions, options, "inner")

    @overload
    def left_join(
        self, table: Table[K, V2], function: Callable[[V, V2 | None], R | None], *, value: Serde[R] | None = None
    ) -> Table[K, R]: ...
    @overload
    def left_join(
        self,
        table: Table[K2, V2],
        function: Callable[[V, V2 | None], R | None],
        *,
        on: Callable[[V], K2 | None],
        value: Serde[R] | None = None,
    ) -> Table[K, R]: ...
    @overload
    def left_join(
        self,
        table: Table[K2, V2],
        on: Callable[[V], K2 | None],
        function: Callable[[V, V2 | None], R | None],
        *,
        value: Serde[R] | None = None,
    ) -> Table[K, R]: ...
    def left_join(self, table: Table[Any, Any], *functions: Any, **options: Any) -> Table[K, Any]:
        """All rows of this table, each with its partner, as for `join`, or None."""
        return self._joined(table, functions, options, "left")

    def outer_join(
        self,
        table: Table[K, V2],
        function: Callable[[V | None, V2 | None], R | None],
        *,
        value: Serde[R] | None = None,
    ) -> Table[K, R]:
        """All rows of both tables, each with its partner or None."""
        return self._joined(table, (function,), {"value": value}, "outer")

    def group_by(
        self,
        function: Callable[[V], K2 | None],
        of: Callable[[V], Any] | None = None,
        *,
        key: Serde[K2] | None = None,
        value: Serde[Any] | None = None,
    ) -> TableGrouped[K2, Any]:
        """Groups the rows by what the function makes of them; a row for which that is None is in no group.

        When a row changes, it is taken out of the group it was in before it is put into the one it is in now. `of`
        chooses what of a row is aggregated, the whole row where it is not given.
        """
        return TableGrouped(grouped_rows(self.flow, function, of, key, value))

    def _joined(
        self, table: Table[Any, Any], functions: tuple[Any, ...], options: dict[str, Any], how: How
    ) -> Table[K, Any]:
        if not isinstance(table, Table):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TopologyError(f"a table can be joined with a table, not with {table!r}")
        return Table(joined_tables(self.flow, table.flow, functions, options, how))

    def to_stream(self) -> Stream[K, V]:
        """Every change as a record; a deleted row has the value None."""
        return Stream(rows_of(self.flow))

    def repartition(self, partitions: int | None = None) -> Table[K, V]:
        """The same rows through an internal topic, by their key: so that a table whose topic is partitioned in another
        way can be joined. What a `history` remembers does not go along."""
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
        """Writes every change to a topic; a deleted row is a tombstone."""
        return self.to_stream().to(topic, key=key, value=value, partition=partition, headers=headers)


class GlobalTable(Stored, Generic[K, V]):
    """A table that every instance has whole. Streams look into it with `.join(table, function, on=)`; it gives no
    changes."""


class WindowedTable(Table[Windowed[K], V], Generic[K, V]):
    """Rows by key and window."""

    def named(self, name: str) -> WindowedTable[K, V]:
        """Names the step that was just made, and with it its store and its topics."""
        return cast("WindowedTable[K, V]", super().named(name))


class TableGrouped(Generic[K, V]):
    """The rows of a table by group, to be counted, reduced or aggregated."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping

    def named(self, name: str) -> Self:
        """Names the repartition topic."""
        self._grouping.name = name
        return self

    def count(self) -> Table[K, int]:
        """How many rows each group has; 0 when it had some."""
        return Table(group_fold(self._grouping, "count", group_counting(), None))

    def reduce(
        self,
        adder: Callable[[V, V], V | None],
        subtractor: Callable[[V, V], V | None],
        *,
        value: Serde[V] | None = None,
    ) -> Table[K, V]:
        """Combines the rows of each group, two at a time; the subtractor takes a row out again."""
        folding, serde = group_reduction(adder, subtractor, self._grouping, value)
        return Table(group_fold(self._grouping, "reduce", folding, serde))

    @overload
    def aggregate(
        self,
        initial: Callable[[], A],
        adder: Callable[[A, V], A | None],
        subtractor: Callable[[A, V], A | None],
        /,
        *,
        value: Serde[A] | None = None,
    ) -> Table[K, A]: ...
    @overload
    def aggregate(
        self,
        initial: A,
        adder: Callable[[A, V], A | None],
        subtractor: Callable[[A, V], A | None],
        /,
        *,
        value: Serde[A] | None = None,
    ) -> Table[K, A]: ...
    @overload
    def aggregate(self, **columns: Aggregator[Any]) -> Table[K, dict[str, Any]]: ...
    def aggregate(self, *arguments: Any, **columns: Any) -> Table[K, Any]:
        """Accumulates the rows of each group, by functions of one's own or by named columns.

        The subtractor takes a row out again; of the columns, `count`, `sum` and `mean` can do that. Sums of floats keep
        the rounding of what was taken out until the group is empty.
        """
        folding, serde = group_aggregation(arguments, columns)
        return Table(group_fold(self._grouping, "aggregate", folding, serde))
