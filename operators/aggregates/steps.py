"""From `.count()`, `.reduce()` and `.aggregate()` to a step with a store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from ..building.specs import By, Combination, EmitOnCommit, StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference, check_function
from ..errors import TopologyError
from ..graph.operator import Operator
from ..serdes.auto import auto
from ..serdes.base import Serde, check_serde
from ..serdes.inference import result_serde
from ..stores.entries import keyed_codec, keyed_view
from ..stores.loading import keyed_loading
from ..stores.schema import shape
from .columns import columns_fold
from .combining import Combine, combine_loop
from .fold import Fold, FoldLoop, aggregating, of_fold, reducing
from .holding import HoldingFold
from .keyed import KeyedFold, keyed_loop

__all__ = ["aggregation", "fold", "reduction"]


def reduction(
    function: Callable[[Any, Any], Any], grouping: Grouping, value: Serde[Any] | None
) -> tuple[Serde[Any] | None, Fold]:
    """Return the serde and fold of a `reduce`, from its arguments."""
    check_function(function, ".reduce()")
    serde = check_serde(value, ".reduce(value=): ") or grouping.reference.value
    return serde, reducing(function, serde or auto)


def aggregation(arguments: tuple[Any, ...], columns: dict[str, Any]) -> tuple[Fold, Serde[Any] | None]:
    """Return the fold and serde of an `aggregate`, from its arguments."""
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


def fold(
    grouping: Grouping,
    kind: str,
    folding: Fold,
    value: Serde[Any] | None,
    *,
    make_loop: Callable[..., FoldLoop] = keyed_loop,
    operator_class: type[KeyedFold] = KeyedFold,
    on_commit: bool = False,
) -> StreamReference:
    """Add a fold per key; grouped tables pass their own loop and operator."""
    loop = cache(partial(make_loop, folding))

    def operator(context: StepContext) -> Operator:
        updates = context.updates_out
        more = {"combined": True} if context.combined else {}
        if operator_class is not KeyedFold or updates or not context.written:
            return operator_class(context.name, context.cache, loop(updates=updates, **more))
        return KeyedFold(context.name, context.cache, loop(updates=False, columns=True, **more), columns=True)

    shown = folding.shown()
    held = cache(partial(keyed_loop, folding, updates=False, holding=True))

    def holding(context: StepContext) -> Operator:
        return HoldingFold(context.name, context.cache, held(combined=context.combined), shown)

    combining = cache(partial(combine_loop, folding))

    def combine(step: str, by: By, key: Serde[Any], value: Serde[Any] | None) -> Operator:
        return Combine(step, combining(), by, key, value)

    key = grouping.through().key_serde()
    store = StepStore(
        codec=keyed_codec(key, folding.keep, folding.restore),
        view=keyed_view(shown, keyed_loading(key, folding.load)),
        shape=shape(kind, key, of_fold(folding, value)),
        value=folding.value,
    )
    can_combine = folding.combining is not None and operator_class is KeyedFold
    can_hold = folding.always_shows and operator_class is KeyedFold
    waiting = EmitOnCommit(key=key, windowed=False, withdraws=folding.deletes, holding=holding if can_hold else None)
    spec = StepSpec(
        kind=kind,
        operator=operator,
        stores=(store,),
        calls=kind != "count",
        holds=folding.holds,
        gives=value or auto,
        on_commit=waiting if on_commit else None,
        combination=Combination(folding.keep, folding.restore, combine) if can_combine else None,
        row_of=None if on_commit else shown,
    )
    return replace(grouping.add(spec), value=value)
