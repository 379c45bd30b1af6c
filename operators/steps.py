"""From a handle's method to a step of the graph: operator, stores, serdes, and the repartition where one is needed.

A `Flow` is where a handle stands: the step and port it reads and what is known of keys and values there. The functions
here add a step to a flow's draft. What a step does is in the operators' own files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from ..state.cache import Codec, StateCache
from .aggregators import columns_fold
from .draft import Asks, Draft, Settled, Step
from .edges import Encoder, RepartitionWriter, SinkWriter
from .entries import guarded, keyed_codec, keyed_view, serde_entry, windowed_codec, windowed_view
from .errors import TopologyError
from .fold import Fold, aggregating, reducing
from .inference import result_serde
from .keyed import KeyedFold, TableRows, keyed_loops
from .processing import Processing, Timing
from .processor import Processor, check_processor, has_timers
from .record import Record
from .serde import Serde, check_serde, float64, int64, raw, utf8, uuid
from .serde_auto import auto, auto_key
from .serde_json import json
from .serde_keys import WindowedKey, plain_key
from .stateless import Merge, NewValues
from .states import declared
from .timers import timers_codec, timers_view
from .topology import Caches, Input, Node, Operator, OperatorState, Repartition, Sink, StoreView, check_name
from .windowed import WindowedFold, windowed_loops
from .windows import Emit, TimeWindows

__all__ = [
    "Flow",
    "Grouping",
    "aggregation",
    "check_function",
    "effect",
    "fold",
    "plain_step",
    "processing",
    "reduction",
    "repartition",
    "rows_of",
    "sink",
    "table_rows",
    "windowed_fold",
]


TIMERS = "timers"
"""What a processor's store of timers is called, after the step."""


@dataclass(frozen=True)
class Flow:
    """A place in the graph, and what is known of the records there."""

    draft: Draft
    step: Step
    port: int = 0
    key: Serde[Any] | None = None
    """Of the key, or of the key in the window; None when it is not known."""
    value: Serde[Any] | None = None
    window: int | None = None
    """The size of the windows when keys are `Windowed`."""
    rekeyed: bool = False
    """True when records of one key may be in different tasks."""

    @property
    def input(self) -> Input:
        return Input(self.step.id, self.port)

    def key_serde(self) -> Serde[Any]:
        """For stores and internal topics."""
        inner = self.key or auto_key
        return inner if self.window is None else WindowedKey(inner, self.window)

    def to(self, step: Step) -> Flow:
        """The place after a step that changes nothing we know of."""
        return replace(self, step=step, port=0)


def check_function(function: object, what: str) -> None:
    """Raises TopologyError unless it can be called."""
    if not callable(function):
        raise TopologyError(f"{what} takes a function, not {function!r}")


def plain_step(
    flow: Flow,
    kind: str,
    build: Callable[[Settled], Operator],
    *,
    others: tuple[Flow, ...] = (),
    ports: tuple[str, ...] = ("",),
    asks: Asks = "new",
) -> Step:
    """A step without stores."""

    def make(settled: Settled) -> Node:
        return Node(settled.id, settled.name, kind, settled.inputs, build=lambda _caches: build(settled), ports=ports)

    return flow.draft.add(kind, (flow.input, *(other.input for other in others)), make, asks=asks)


def rows_of(flow: Flow) -> Flow:
    """A table's rows as they are now."""

    def build(settled: Settled) -> Operator:
        return NewValues() if settled.updates_in else Merge()

    return flow.to(plain_step(flow, "to_stream", build))


class Grouping:
    """Records to be worked on by key: by the one they have, or by what a function gives.

    The repartition, where one is needed, is made for the first keyed step and serves all that follow.
    """

    def __init__(self, flow: Flow, by: Callable[[Any], Any] | None = None, key: Serde[Any] | None = None) -> None:
        self.flow = flow if by is None else replace(flow, key=key, window=None, rekeyed=True)
        self.name: str | None = None
        self._by = by
        self._through: Flow | None = None

    def add(self, kind: str, make: Callable[[Flow], Callable[[Settled], Node]], *, asks: Asks = "new") -> Flow:
        """Adds a keyed step; gives the place after it."""
        first = self._through is None
        if self._through is None:
            self._through = repartition(self.flow, self._by) if self.flow.rekeyed else self.flow
        through = self._through
        step = through.draft.add(kind, (through.input,), make(through), durable=True, asks=asks)
        if first and self.flow.rekeyed:
            through.step.made_for = step
            through.step.name = self.name
        return through.to(step)


def repartition(flow: Flow, by: Callable[[Any], Any] | None = None, partitions: int | None = None) -> Flow:
    """Through an internal topic, so that records of one key meet."""
    key, value = flow.key_serde(), flow.value or auto

    def make(settled: Settled) -> Node:
        def build(_caches: Caches) -> Operator:
            return RepartitionWriter(settled.name, Encoder(key, value), by)

        return Repartition(
            settled.id,
            settled.name,
            "repartition",
            settled.inputs,
            build=build,
            key=key,
            value=value,
            partitions=partitions,
        )

    step = flow.draft.add("repartition", (flow.input,), make, durable=True)
    return replace(flow, step=step, port=0, rekeyed=False)


def keyed_step(
    grouping: Grouping,
    kind: str,
    codec: Callable[[Flow], Codec[Any, Any]],
    view: StoreView,
    build: Callable[[Settled], Callable[[StateCache[Any, Any]], Operator]],
    disorder: int | None = None,
) -> Flow:
    """A step with one store. `disorder` in ms is what it bears in its input before records are late."""

    def make(flow: Flow) -> Callable[[Settled], Node]:
        def node(settled: Settled) -> Node:
            operator = build(settled)
            state = OperatorState(settled.spec(), guarded(codec(flow), settled.name), view)
            return Node(
                settled.id,
                settled.name,
                kind,
                settled.inputs,
                build=lambda caches: operator(caches[settled.name]),
                stores=(state,),
                keyed=True,
                disorder=disorder,
            )

        return node

    return grouping.add(kind, make)


def reduction(
    function: Callable[[Any, Any], Any], grouping: Grouping, value: Serde[Any] | None
) -> tuple[Serde[Any] | None, Fold]:
    """The serde and fold of a `reduce`, from its arguments."""
    check_function(function, ".reduce()")
    serde = check_serde(value, ".reduce(value=): ") or grouping.flow.value
    return serde, reducing(function, serde or auto)


def aggregation(arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
    """The fold and serde of an `aggregate`, from its arguments."""
    if not arguments:
        if not columns:
            raise TopologyError(
                ".aggregate() takes columns such as count=tm.count(), or an initial value and a function"
            )
        return columns_fold(columns), None
    value = columns.pop("value", None)
    if len(arguments) != 2 or columns:
        raise TopologyError(
            ".aggregate() takes either columns such as count=tm.count(), or an initial value and a function, not both"
        )
    initial, function = arguments
    check_function(function, ".aggregate()")
    serde = check_serde(value, ".aggregate(value=): ") or result_serde(function)
    return aggregating(initial, function, serde or auto), serde


def fold(grouping: Grouping, kind: str, folding: Fold, value: Serde[Any] | None) -> Flow:
    """A fold a key."""

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        loops = keyed_loops(folding, updates=settled.updates_out)
        return lambda cache: KeyedFold(settled.name, cache, loops)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return keyed_codec(flow.key_serde(), folding.keep, folding.restore)

    return replace(keyed_step(grouping, kind, codec, keyed_view(folding.shown()), build), value=value)


def windowed_fold(
    grouping: Grouping, windows: TimeWindows, emit: Emit, kind: str, folding: Fold, value: Serde[Any] | None
) -> Flow:
    """A fold a key and window."""
    if grouping.flow.window is not None:
        raise TopologyError("the keys are windows already: group by something else before opening windows again")
    shown = folding.shown()

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        updates = settled.updates_out
        loops = windowed_loops(folding, windows, emit, updates=updates)
        return lambda cache: WindowedFold(settled.name, cache, loops, shown, windows, emit, updates=updates)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return windowed_codec(flow.key_serde(), folding.keep, folding.restore)

    flow = keyed_step(grouping, kind, codec, windowed_view(windows.size, shown), build, windows.grace)
    return replace(flow, value=value, window=windows.size)


def table_rows(grouping: Grouping, *, name: str | None = None) -> Flow:
    """The newest value a key."""

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        return lambda cache: TableRows(settled.name, cache, updates=settled.updates_out)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return keyed_codec(flow.key_serde(), *serde_entry(flow.value or auto))

    flow = keyed_step(grouping, "table", codec, keyed_view(itemgetter(1)), build)
    flow.step.default = name
    return flow


def processing(
    flow: Flow, made: Callable[..., Processor[Any, Any, Any]], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Flow:
    """A processor of the user's: a keyed step when it declares state."""
    cls = check_processor(made, arguments, options)
    states, timed = declared(cls), has_timers(cls)
    if timed and TIMERS in states:
        raise TopologyError(
            f"{cls.__name__}.{TIMERS}: the store of that name is for the timers; call the state otherwise"
        )

    def make(flow: Flow) -> Callable[[Settled], Node]:
        key = flow.key_serde()

        def node(settled: Settled) -> Node:
            sides = tuple(settled.sides)

            def build(caches: Caches) -> Operator:
                bound = {name: (state, caches[settled.spec(name).name]) for name, state in states.items()}
                processor = made(*arguments, **options)
                timers = caches[settled.spec(TIMERS).name] if timed else None
                return (Timing if timed else Processing)(settled.name, processor, bound, timers, key, sides)

            stores = [(name, state.codec(key), state.view()) for name, state in states.items()]
            if timed:
                stores.append((TIMERS, timers_codec(key), timers_view()))
            return Node(
                settled.id,
                settled.name,
                "process",
                settled.inputs,
                build=build,
                ports=("", *sides),
                stores=tuple(
                    OperatorState(settled.spec(name), guarded(codec, settled.spec(name).name), view)
                    for name, codec, view in stores
                ),
                keyed=bool(stores),
            )

        return node

    if states or timed:
        return replace(Grouping(flow).add("process", make), value=None)
    return replace(flow.to(flow.draft.add("process", (flow.input,), make(flow))), value=None)


def sink(
    flow: Flow,
    topic: str | Callable[[Record[Any, Any]], str],
    key: Serde[Any] | None,
    value: Serde[Any] | None,
    partition: Callable[[Record[Any, Any]], int] | None,
    headers: Callable[[Record[Any, Any]], Any] | None,
) -> Step:
    """Writes a topic."""
    shown = topic if isinstance(topic, str) else "a function's topics"
    if not (isinstance(topic, str) or callable(topic)):
        raise TopologyError(f".to() takes a topic or a function that gives one for a record, not {topic!r}")
    if isinstance(topic, str):
        check_name(topic, "topic")
    given = check_serde(key, f"the key of .to({shown!r}): ")
    value_serde: Serde[Any] = check_serde(value, f"the value of .to({shown!r}): ") or flow.value or json
    key_serde: Serde[Any] = given or flow.key or plain_key
    hashed: Callable[[Any], bytes] | None = None
    if flow.window is not None:
        inner: Serde[Any] = flow.key or plain_key
        if given is None or given in INNER:
            inner = given or inner
            key_serde = WindowedKey(inner, flow.window)
        encode = inner.encode

        def hashed_key(windowed: Any) -> bytes:
            return encode(windowed.key)

        hashed = hashed_key
    for function, what in ((partition, "partition="), (headers, "headers=")):
        if function is not None:
            check_function(function, f".to({shown!r}, {what})")

    def make(settled: Settled) -> Node:
        def build(_caches: Caches) -> Operator:
            encoder = Encoder(key_serde, value_serde, hashed=hashed, partition=partition, headers=headers)
            return SinkWriter(settled.name, topic, encoder)

        return Sink(
            settled.id,
            settled.name,
            "sink",
            settled.inputs,
            build=build,
            topic=topic,
            key=key_serde,
            value=value_serde,
        )

    default = f"to-{topic}" if isinstance(topic, str) else None
    return flow.draft.add("sink", (flow.input,), make, default=default)


INNER = (utf8, raw, int64, float64, uuid, plain_key, auto_key)
"""Serdes that can only be meant for the key in a window, not for the key and window together."""


def effect(flow: Flow, kind: str, build: Callable[[str], Operator]) -> Step:
    """A sink that is a function of the user's."""

    def make(settled: Settled) -> Node:
        return Sink(settled.id, settled.name, "sink", settled.inputs, build=lambda _caches: build(settled.name))

    return flow.draft.add(kind, (flow.input,), make)
