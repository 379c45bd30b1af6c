"""From `.process()` to a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..building.draft import Settled
from ..building.flow import Flow, Grouping
from ..errors import TopologyError
from ..graph.operator import Operator
from ..graph.topology import Caches, Node, OperatorState
from ..stores.entries import guarded
from ..stores.schema import shape
from ..time.every import scheduled
from .processing import Processing, Timing
from .processor import Processor, check_processor, has_timers
from .states import declared
from .timers import timers_codec, timers_view

__all__ = ["processing"]


TIMERS = "timers"
"""What a processor's store of timers is called, after the step."""


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
