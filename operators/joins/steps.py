"""From `.join()` to a step: the stores of joins of streams, and of streams with tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

from ...state.store import StoreSpec
from ..building.draft import Draft, Settled, nothing_to_run
from ..building.flow import Flow, Grouping, check_function, keyed
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, OperatorState, Source, check_name
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde, raw
from ..serdes.hashable import check_key_serde
from ..serdes.inference import result_serde
from ..stateless.to_stream import rows_of
from ..stores.entries import guarded, keyed_codec, keyed_view, serde_entry
from ..stores.schema import shape, word
from ..time.durations import Duration
from ..time.event_time import TimeFunction, check_time_function
from ..time.join_windows import Within, join_window
from .global_join import GlobalJoin
from .sides import side_codec, side_view
from .stream_join import StreamJoin
from .stream_table_join import StreamTableJoin
from .table_join import How
from .unmatched import Unmatched, unmatched_codec, unmatched_view

__all__ = ["check_how", "global_source", "join_global", "join_streams", "join_table", "refuse"]


def join_streams(
    left: Flow,
    right: Flow,
    function: Callable[[Any, Any], Any],
    within: Within | None,
    grace: Duration,
    how: How,
    value: Serde[Any] | None,
) -> Flow:
    """Records of two streams with one key whose times are near each other."""
    check_function(function, ".join()")
    check_how(how, "inner", "left", "outer")
    if within is None:
        raise TopologyError(".join() of two streams needs within=, such as within='5m': how far apart records may be")
    window = join_window(within, grace)
    serde = check_serde(value, ".join(value=): ") or result_serde(function)
    here = Grouping(left, null_keys=how != "inner")
    there = here if left == right else Grouping(right, null_keys=how == "outer")

    def make(flows: tuple[Flow, ...]) -> Callable[[Settled], Node]:
        key = flows[0].key_serde()
        values = flows[0].value or auto, flows[1].value or auto

        def node(settled: Settled) -> Node:
            names = [settled.spec(name).name for name in ("left", "right", "unmatched")]
            codec = unmatched_codec(key, *values)
            states = [
                OperatorState(
                    settled.spec(name),
                    guarded(side_codec(key, serde), settled.name),
                    side_view(),
                    shape("side", key, word(serde)),
                )
                for name, serde in zip(("left", "right"), values, strict=True)
            ]
            if how != "inner":
                words = shape("unmatched", key, " and ".join(map(word, values)))
                states.append(
                    OperatorState(settled.spec("unmatched"), guarded(codec, settled.name), unmatched_view(), words)
                )

            def build(caches: Caches) -> Operator:
                waiting = Unmatched(caches[names[2]], codec.encode_key) if how != "inner" else None
                sides = caches[names[0]], caches[names[1]]
                watermarked = settled.watermark is not None
                return StreamJoin(settled.name, sides, waiting, window, function, how, watermarked=watermarked)

            return Node(
                settled.id,
                settled.name,
                "join",
                settled.inputs,
                build=build,
                stores=tuple(states),
                keyed=True,
                tagged=True,
                keeps=values,
                disorder=window.grace,
                behind=0 if how == "inner" else max(window.before, window.after) + window.grace + 1,
            )

        return node

    return replace(keyed((here, there), "join", make, roles=("left", "right")), value=serde)


def join_table(
    stream: Flow, table: Flow, function: Callable[[Any, Any], Any], how: str, value: Serde[Any] | None
) -> Flow:
    """Records of a stream with the row that a table has for their key when they come."""
    check_function(function, ".join()")
    check_how(how, "inner", "left")
    serde = check_serde(value, ".join(value=): ") or result_serde(function)
    left = how == "left"

    def make(flows: tuple[Flow, ...]) -> Callable[[Settled], Node]:
        key, row = flows[0].key_serde(), flows[0].value or auto
        codec = keyed_codec(key, *serde_entry(row))

        def node(settled: Settled) -> Node:
            name = settled.spec().name
            words = shape("rows", key, word(row))
            state = OperatorState(settled.spec(), guarded(codec, name), keyed_view(itemgetter(1)), words)
            return Node(
                settled.id,
                settled.name,
                "join",
                settled.inputs,
                build=lambda caches: StreamTableJoin(settled.name, caches[name], function, left=left),
                stores=(state,),
                keyed=True,
                tagged=True,
                keeps=(row, None),
                in_order=True,
            )

        return node

    groupings = Grouping(rows_of(table)), Grouping(stream, null_keys=left)
    return replace(keyed(groupings, "join", make, roles=("table", "")), value=serde)


def refuse(what: str, **options: object) -> None:
    """Raises TopologyError for options that are given and do not apply."""
    for name, value in options.items():
        if value is not None:
            raise TopologyError(f"{what} takes no {name}=")


def global_source(
    draft: Draft,
    topic: object,
    key: Serde[Any] | None,
    value: Serde[Any] | None,
    timestamp: TimeFunction | None,
) -> Flow:
    """A topic that every instance reads whole, into a store that has the topic's name."""
    if not isinstance(topic, str):
        raise TopologyError(f"app.global_table() reads one topic, not {topic!r}")
    check_name(topic, "topic")
    if timestamp is not None:
        check_time_function(timestamp, f"the global table {topic!r}: timestamp=")
    key_serde = check_key_serde(key, f"the key of global table {topic!r}: ") or raw
    value_serde = check_serde(value, f"the value of global table {topic!r}: ") or raw
    codec = keyed_codec(key_serde, *serde_entry(value_serde))

    def make(settled: Settled) -> Node:
        spec = StoreSpec(settled.name, settled.store, changelog=False)
        return Source(
            settled.id,
            settled.name,
            "global table",
            (),
            build=nothing_to_run,
            stores=(OperatorState(spec, codec, keyed_view(itemgetter(1))),),
            topics=(topic,),
            key=key_serde,
            value=value_serde,
            timestamp=timestamp,
            broadcast=True,
        )

    step = draft.add("global table", (), make, default=topic, durable=True)
    return Flow(draft, step, key=key_serde, value=value_serde)


def join_global(
    stream: Flow,
    table: Flow,
    function: Callable[[Any, Any], Any],
    on: Callable[[Any], Any] | None,
    how: str,
    value: Serde[Any] | None,
) -> Flow:
    """Records of a stream with rows of a global table."""
    check_function(function, ".join()")
    check_how(how, "inner", "left")
    if on is not None:
        check_function(on, ".join(on=)")
    if stream.draft is not table.draft:
        raise TopologyError("a join: one of its inputs is of another program")
    serde = check_serde(value, ".join(value=): ") or result_serde(function)

    def make(settled: Settled) -> Node:
        def build(caches: Caches) -> Operator:
            return GlobalJoin(settled.name, caches[settled.reads[0]], on, function, left=how == "left")

        return Node(settled.id, settled.name, "join", settled.inputs, build=build, reads=settled.reads)

    return replace(stream.to(stream.draft.add("join", (stream.input,), make, reads=(table.step,))), value=serde)


def check_how(how: object, *known: str) -> None:
    """Raises TopologyError unless it is one of these."""
    if how not in known:
        raise TopologyError(f".join(how=) takes {', '.join(map(repr, known))} here, not {how!r}")
