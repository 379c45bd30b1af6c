"""From a join of two tables to a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.draft import Settled
from ..building.flow import Flow, Grouping, check_function, keyed
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, OperatorState
from ..record import Windowed
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stateless.to_stream import rows_of
from ..stores.entries import guarded
from ..stores.schema import shape, word
from ..tables.steps import Function
from .foreign_key_steps import join_by_foreign_key
from .table_join import How, TableJoin, joined_codec, joined_view, joined_with
from .windowed_table_join import WindowedTableJoin, windowed_joined_codec

__all__ = ["joined_tables"]


def joined_tables(left: Flow, right: Flow, functions: tuple[Any, ...], options: dict[str, Any], how: How) -> Flow:
    """Two tables joined, as a method was asked to: (function), (on, function), or either by keyword."""
    method = "join" if how == "inner" else f"{how}_join"
    names = ("function",) if len(functions) < 2 else ("on", "function")
    given = {**dict(zip(names, functions, strict=False)), **options}
    if len(functions) > 2 or "function" not in given or not given.keys() <= {"function", "on", "value"}:
        raise TopologyError(
            f".{method}() takes a table and a function of both rows, on= for a foreign key, and value= for a serde"
        )
    if given.get("on") is None:
        return _join_by_key(left, right, given["function"], how, given.get("value"))
    return join_by_foreign_key(
        left, right, given["on"], given["function"], outer=how == "left", value=given.get("value")
    )


def _join_by_key(left: Flow, right: Flow, function: Function, how: How, value: Serde[Any] | None) -> Flow:
    """Two tables joined by their keys."""
    check_function(function, f".{'join' if how == 'inner' else f'{how}_join'}()")
    joined = joined_with(how, function)
    windows = left.window

    def make(flows: tuple[Flow, ...]) -> Callable[[Settled], Node]:
        def node(settled: Settled) -> Node:
            left_row, right_row = (flow.value or auto for flow in flows)
            if windows is None:
                codec, view = joined_codec(flows[0].key_serde(), left_row, right_row), joined_view(joined)
            else:
                codec = windowed_joined_codec(flows[0].key or auto_key, left_row, right_row)
                view = joined_view(joined, lambda slot: isinstance(slot, Windowed))
            words = shape("join", flows[0].key_serde(), f"{word(left_row)} and {word(right_row)}")
            state = OperatorState(settled.spec(), guarded(codec, settled.name), view, words)

            def build(caches: Caches) -> Operator:
                cache, updates = caches[settled.name], settled.updates_out
                if windows is None:
                    return TableJoin(settled.name, cache, how, joined, updates=updates)
                watermarked = settled.watermark is not None
                return WindowedTableJoin(
                    settled.name, cache, how, joined, windows, updates=updates, watermarked=watermarked
                )

            return Node(
                settled.id,
                settled.name,
                "join",
                settled.inputs,
                build=build,
                stores=(state,),
                keyed=True,
                tagged=True,
                keeps=(left_row, right_row),
            )

        return node

    flow = keyed((Grouping(rows_of(left)), Grouping(rows_of(right))), "join", make, roles=("left", "right"))
    return replace(flow, value=check_serde(value, "join(value=): ") or result_serde(function))
