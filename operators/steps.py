"""From a handle's method to a step with stores: folds, tables, processors. What each does is in its operator's file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from operator import itemgetter
from typing import Any

from ..state.cache import Codec, StateCache
from .aggregators import columns_fold
from .draft import Settled
from .durations import Duration, parse_duration
from .entries import (
    guarded,
    keyed_codec,
    keyed_view,
    serde_entry,
    session_codec,
    session_view,
    windowed_codec,
    windowed_view,
)
from .errors import TopologyError
from .every import scheduled
from .flow import Flow, Grouping, check_function, keyed_step
from .fold import Fold, Loop, aggregating, reducing
from .inference import result_serde
from .keyed import KeyedFold, TableRows, keyed_loop
from .processing import Processing, Timing
from .processor import Processor, check_processor, has_timers
from .serde import Serde, check_serde
from .serde_auto import auto
from .sessions import SessionFold, session_loop
from .shapes import of_fold, of_windows, shape, word
from .sinks import sink
from .sliding import SlidingFold, sliding_loop
from .states import declared
from .suppress import Bounds, Suppress, suppress_codec, suppress_view
from .timers import timers_codec, timers_view
from .topology import Caches, Node, Operator, OperatorState
from .windowed import WindowedFold, windowed_loop
from .windowing import Making
from .windows import Emit, SessionWindows, SlidingWindows, Windows, length_of, results_behind

__all__ = [
    "Late",
    "aggregation",
    "fold",
    "processing",
    "reduction",
    "suppression",
    "table_rows",
    "windowed_fold",
]


@dataclass(frozen=True)
class Late:
    """Where records go that are late."""

    topic: str
    key: Serde[Any] | None
    value: Serde[Any] | None


TIMERS = "timers"
"""What a processor's store of timers is called, after the step."""


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
    value, merge = columns.pop("value", None), columns.pop("merge", None)
    if merge is not None:
        check_function(merge, ".aggregate(merge=)")
    if len(arguments) != 2 or columns:
        raise TopologyError(
            ".aggregate() takes either columns such as count=tm.count(), or an initial value and a function, not both"
        )
    initial, function = arguments
    check_function(function, ".aggregate()")
    serde = check_serde(value, ".aggregate(value=): ") or result_serde(function)
    return aggregating(initial, function, serde or auto, merge=merge), serde


def fold(grouping: Grouping, kind: str, folding: Fold, value: Serde[Any] | None) -> Flow:
    """A fold a key."""

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        loop = keyed_loop(folding, updates=settled.updates_out)
        return lambda cache: KeyedFold(settled.name, cache, loop)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return keyed_codec(flow.key_serde(), folding.keep, folding.restore)

    view, kept = keyed_view(folding.shown()), of_fold(folding, value)
    flow = keyed_step(grouping, kind, codec, view, build, holds=folding.holds, kept=kept, gives=value or auto)
    return replace(flow, value=value)


def windowed_fold(
    grouping: Grouping,
    windows: Windows,
    emit: Emit,
    late: Late | None,
    kind: str,
    folding: Fold,
    value: Serde[Any] | None,
) -> Flow:
    """A fold a key and window."""
    if grouping.flow.window is not None:
        raise TopologyError("the keys are windows already: group by something else before opening windows again")
    shown = folding.shown()
    if isinstance(windows, SessionWindows):
        windows = replace(windows, overwritten=emit.drop_expired)
    sessions = isinstance(windows, SessionWindows)
    if sessions and folding.merge is None:
        raise TopologyError(
            "sessions that a record connects become one, and so must their aggregates: " + folding.cannot_merge
        )

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        updates, wanted, watermarked = settled.updates_out, late is not None, settled.watermark is not None
        loop: Loop
        operator: Callable[[Making, StateCache[Any, Any]], Operator]
        if isinstance(windows, SessionWindows):
            loop = session_loop(folding, windows, emit, updates=updates, late=wanted, watermarked=watermarked)
            operator = partial(SessionFold, windows=windows)
        elif isinstance(windows, SlidingWindows):
            loop = sliding_loop(folding, windows, emit, updates=updates, late=wanted, watermarked=watermarked)
            operator = partial(SlidingFold, windows=windows, watermarked=watermarked)
        else:
            loop = windowed_loop(folding, windows, emit, updates=updates, late=wanted, watermarked=watermarked)
            operator = partial(WindowedFold, windows=windows)
        making = Making(settled.name, loop, shown, emit, updates, wanted)
        return lambda cache: operator(making, cache)

    def codec(flow: Flow) -> Codec[Any, Any]:
        make = session_codec if sessions else windowed_codec
        return make(flow.key_serde(), folding.keep, folding.restore)

    view = session_view(shown) if isinstance(windows, SessionWindows) else windowed_view(windows.end, shown)
    ports = ("",) if late is None else ("", "late")
    flow = keyed_step(
        grouping,
        kind,
        codec,
        view,
        build,
        windows.grace,
        ports,
        behind=results_behind(windows, emit),
        holds=folding.holds,
        kept=f"{of_fold(folding, value)} in {of_windows(windows)}",
        gives=value or auto,
    )
    if late is not None:
        sink(replace(flow, port=1), late.topic, late.key, late.value, None, None)
    return replace(flow, value=value, window=windows)


def suppression(flow: Flow, until: Duration, max_records: int | None, max_bytes: int | None) -> Flow:
    """Holds rows of a table back."""
    for bound, name in ((max_records, "max_records"), (max_bytes, "max_bytes")):
        if bound is not None and (type(bound) is not int or bound < 1):
            raise TopologyError(f".suppress({name}=) takes a number of at least 1, not {bound!r}")
    length = 0
    if until == "close":
        if flow.window is None:
            raise TopologyError(
                ".suppress(until='close') is for tables with windows, and this one has none: give a time, such as "
                "until='10s'"
            )
        if max_records is not None or max_bytes is not None:
            raise TopologyError(
                ".suppress(until='close') cannot be bounded: what is sent early is not a window's last result"
            )
        bounds = Bounds(flow.window.close(0), windows=True)
        length = length_of(flow.window)
    else:
        limit = parse_duration(until, ".suppress(until=)")
        bounds = Bounds(limit, windows=False, max_records=max_records, max_bytes=max_bytes)
    key, value = flow.key_serde(), flow.value or auto

    def size(row_key: Any, row: Any) -> int:
        return len(key.encode(row_key)) + (0 if row is None else len(value.encode(row)))

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        def operator(cache: StateCache[Any, Any]) -> Operator:
            return Suppress(
                settled.name,
                cache,
                bounds,
                None if max_bytes is None else size,
                updates_in=settled.updates_in,
                updates_out=settled.updates_out,
                watermarked=settled.watermark is not None,
            )

        return operator

    def codec(_flow: Flow) -> Codec[Any, Any]:
        return suppress_codec(key, value)

    behind = length + bounds.limit
    return keyed_step(
        Grouping(flow),
        "suppress",
        codec,
        suppress_view(),
        build,
        asks="same",
        behind=behind,
        kept=word(value),
        keeps=value,
    )


def table_rows(grouping: Grouping, *, name: str | None = None) -> Flow:
    """The newest value a key."""

    def build(settled: Settled) -> Callable[[StateCache[Any, Any]], Operator]:
        return lambda cache: TableRows(settled.name, cache, updates=settled.updates_out)

    def codec(flow: Flow) -> Codec[Any, Any]:
        return keyed_codec(flow.key_serde(), *serde_entry(flow.value or auto))

    value = grouping.flow.value or auto
    flow = keyed_step(grouping, "table", codec, keyed_view(itemgetter(1)), build, kept=word(value), keeps=value)
    flow.step.default = name
    return flow


def processing(
    flow: Flow, made: Callable[..., Processor[Any, Any, Any]], arguments: tuple[Any, ...], options: dict[str, Any]
) -> Flow:
    """A processor of the user's: a keyed step when it declares state."""
    cls = check_processor(made, arguments, options)
    states, recurring = declared(cls), scheduled(cls)
    timed = has_timers(cls) or bool(recurring)
    if timed and TIMERS in states:
        raise TopologyError(
            f"{cls.__name__}.{TIMERS}: the store of that name is for the timers; call the state otherwise"
        )

    def make(flow: Flow) -> Callable[[Settled], Node]:
        key = flow.key_serde()

        def node(settled: Settled) -> Node:
            sides, watermarked = tuple(settled.sides), settled.watermark is not None

            specs = {name: settled.spec(name, state.store) for name, state in states.items()}

            def build(caches: Caches) -> Operator:
                bound = {name: (state, caches[specs[name].name]) for name, state in states.items()}
                processor = made(*arguments, **options)
                if not timed:
                    return Processing(settled.name, processor, bound, None, key, sides, watermarked=watermarked)
                timers = caches[settled.spec(TIMERS).name]
                return Timing(
                    settled.name, processor, bound, timers, key, sides, has_timers(cls), recurring, watermarked
                )

            stores = [
                (specs[name], state.codec(key), state.view(key), shape(type(state).__name__, key, state.holding()))
                for name, state in states.items()
            ]
            if timed:
                stores.append((settled.spec(TIMERS), timers_codec(key), timers_view(), shape("timers", key)))
            return Node(
                settled.id,
                settled.name,
                "process",
                settled.inputs,
                build=build,
                ports=("", *sides),
                stores=tuple(
                    OperatorState(spec, guarded(codec, spec.name), view, words) for spec, codec, view, words in stores
                ),
                keyed=bool(stores),
            )

        return node

    if states or timed:
        # a method that is called every so often sends records under any key
        return replace(Grouping(flow).add("process", make), value=None, rekeyed=bool(recurring))
    return replace(flow.to(flow.draft.add("process", (flow.input,), make(flow))), value=None)
