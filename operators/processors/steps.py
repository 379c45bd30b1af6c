"""The step of `.process()`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.specs import StepContext, StepSpec, StepStore
from ..building.stream_reference import Grouping, StreamReference
from ..errors import TopologyError
from ..graph.operator import Operator
from ..stores.schema import shape
from ..time.every import scheduled
from .processing import Processing, Timing
from .processor import Processor, check_processor, has_timers
from .state import declared
from .timers import timers_codec, timers_view

__all__ = ["processing"]


TIMERS = "timers"
"""The suffix of the name of a processor's timer store."""


def processing(
    reference: StreamReference,
    made: Callable[..., Processor[Any, Any, Any]],
    arguments: tuple[Any, ...],
    options: dict[str, Any],
) -> StreamReference:
    """Add the step of a user-defined processor, which is keyed if it declares state."""
    cls = check_processor(made, arguments, options)
    states, recurring = declared(cls), scheduled(cls)
    timed = has_timers(cls) or bool(recurring)
    if timed and TIMERS in states:
        raise TopologyError(
            f"{cls.__name__}.{TIMERS}: the store of that name is for the timers; give the state another name"
        )

    keyed = bool(states) or timed
    grouping = Grouping(reference)
    key = (grouping.through() if keyed else reference).key_serde()

    def operator(context: StepContext) -> Operator:
        bound = {name: (state, context.caches[name]) for name, state in states.items()}
        processor, sides, watermarked = made(*arguments, **options), context.sides, context.watermarked
        if not timed:
            return Processing(context.name, processor, bound, None, key, sides, watermarked=watermarked)
        timers = context.caches[TIMERS]
        return Timing(context.name, processor, bound, timers, key, sides, has_timers(cls), recurring, watermarked)

    stores = [
        StepStore(
            codec=state.codec(key),
            view=state.view(key),
            shape=shape(type(state).__name__, key, state.holding()),
            suffix=name,
            own_name=state.store,
        )
        for name, state in states.items()
    ]
    if timed:
        stores.append(StepStore(codec=timers_codec(key), view=timers_view(), shape=shape("timers", key), suffix=TIMERS))
    sends_by = "clock" if timed else "records"  # timers may be by either
    spec = StepSpec(kind="process", operator=operator, stores=tuple(stores), sends_by=sends_by)
    if not keyed:
        return replace(reference.add(spec), value=None)
    # a method with `every` sends records under any key
    return replace(grouping.add(spec), value=None, rekeyed=bool(recurring))
