"""From `.count()`, `.reduce()` and `.aggregate()` to a step with a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...state.cache import Codec, StateCache
from ..building.draft import Settled
from ..building.flow import Flow, Grouping, check_function, keyed_step
from ..errors import TopologyError
from ..graph.operator import Operator
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stores.entries import keyed_codec, keyed_view
from .aggregators import columns_fold
from .fold import Fold, aggregating, of_fold, reducing
from .keyed import KeyedFold, keyed_loop

__all__ = ["aggregation", "fold", "reduction"]


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
