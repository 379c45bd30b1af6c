"""From `.join()` to a step: the stores of joins of streams, and of streams with tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .draft import Settled
from .durations import Duration
from .entries import guarded, keyed_codec, keyed_view, serde_entry
from .errors import TopologyError
from .flow import Flow, Grouping, check_function, keyed, rows_of
from .inference import result_serde
from .join_sides import side_codec, side_view
from .join_windows import Within, join_window
from .serde import Serde, check_serde
from .serde_auto import auto
from .stream_join import StreamJoin
from .stream_table_join import StreamTableJoin
from .table_join import How
from .topology import Caches, Node, Operator, OperatorState
from .unmatched import Unmatched, unmatched_codec, unmatched_view

__all__ = ["join_streams", "join_table", "refuse"]


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
                OperatorState(settled.spec(name), guarded(side_codec(key, serde), settled.name), side_view())
                for name, serde in zip(("left", "right"), values, strict=True)
            ]
            if how != "inner":
                states.append(OperatorState(settled.spec("unmatched"), guarded(codec, settled.name), unmatched_view()))

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
                disorder=window.grace,
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
        codec = keyed_codec(flows[0].key_serde(), *serde_entry(flows[0].value or auto))

        def node(settled: Settled) -> Node:
            name = settled.spec().name
            state = OperatorState(settled.spec(), guarded(codec, name), keyed_view(lambda entry: entry[1]))
            return Node(
                settled.id,
                settled.name,
                "join",
                settled.inputs,
                build=lambda caches: StreamTableJoin(settled.name, caches[name], function, left=left),
                stores=(state,),
                keyed=True,
                tagged=True,
            )

        return node

    groupings = Grouping(rows_of(table)), Grouping(stream, null_keys=left)
    return replace(keyed(groupings, "join", make, roles=("table", "")), value=serde)


def refuse(what: str, **options: object) -> None:
    """Raises TopologyError for options that are given and do not apply."""
    for name, value in options.items():
        if value is not None:
            raise TopologyError(f"{what} takes no {name}=")


def check_how(how: object, *known: str) -> None:
    """Raises TopologyError unless it is one of these."""
    if how not in known:
        raise TopologyError(f".join(how=) takes {', '.join(map(repr, known))} here, not {how!r}")
