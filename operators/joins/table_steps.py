"""The steps of a join of two tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.specs import StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference, add_keyed, check_function, copartitioned
from ..graph.operator import Operator
from ..record import Windowed
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stateless.to_stream import rows_of
from ..stores.schema import shape, word
from ..tables.steps import Function
from .foreign_key_steps import join_by_foreign_key
from .table_join import How, TableJoin, joined_codec, joined_view, joined_with
from .windowed_table_join import WindowedTableJoin, windowed_joined_codec

__all__ = ["join_tables"]


def join_tables(
    left: StreamReference,
    right: StreamReference,
    function: Function,
    on: Callable[[Any], Any] | None,
    how: How,
    value: Serde[Any] | None,
) -> StreamReference:
    """Join two tables by their keys, or by the foreign key that `on` returns for a left row."""
    if on is None:
        return _join_by_key(left, right, function, how, value)
    return join_by_foreign_key(left, right, on, function, outer=how == "left", value=value)


def _join_by_key(
    left: StreamReference, right: StreamReference, function: Function, how: How, value: Serde[Any] | None
) -> StreamReference:
    """Join two tables by their keys."""
    check_function(function, f".{'join' if how == 'inner' else f'{how}_join'}()")
    joined = joined_with(how, function)
    windows = left.window
    groupings = Grouping(rows_of(left)), Grouping(rows_of(right))
    flows = copartitioned(groupings, "join")
    key, (left_row, right_row) = flows[0].key_serde(), (reference.value or auto for reference in flows)
    if windows is None:
        codec, view = joined_codec(key, left_row, right_row), joined_view(joined)
    else:
        codec = windowed_joined_codec(flows[0].key or auto_key, left_row, right_row)
        view = joined_view(joined, lambda slot: isinstance(slot, Windowed))

    def operator(context: StepContext) -> Operator:
        name, cache, updates = context.name, context.cache, context.updates_out
        if windows is None:
            return TableJoin(name, cache, how, joined, updates=updates)
        return WindowedTableJoin(name, cache, how, joined, windows, updates=updates, watermarked=context.watermarked)

    words = shape("join", key, f"{word(left_row)} and {word(right_row)}")
    spec = StepSpec(
        kind="join",
        operator=operator,
        stores=(StepStore(codec=codec, view=view, shape=words),),
        tagged=True,
        keeps=(left_row, right_row),
    )
    reference = add_keyed(groupings, spec, ("left", "right"))
    return replace(reference, value=check_serde(value, "join(value=): ") or result_serde(function))
