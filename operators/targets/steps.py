"""The step of `.sink(target)`."""

from __future__ import annotations

from ..building.specs import StepContext, TargetSpec
from ..building.step import StepDefinition
from ..building.stream_reference import StreamReference, repartition
from ..graph.operator import Operator
from ..graph.target import Target, TargetInput
from .target_sink import TargetSink

__all__ = ["target_sink"]


def target_sink(reference: StreamReference, target: Target, *, table: bool) -> StepDefinition:
    """Add the sink, and the topic that it reads.

    The position in the target is an offset of that topic. The topology builder leaves the topic out if the place is one
    already and nothing else reads it.
    """
    windowed = reference.window is not None
    target = target.accept(TargetInput(reference.key, reference.value, windowed, table))
    through = repartition(reference, null_keys=True)

    def operator(context: StepContext) -> Operator:
        return TargetSink(context.name)

    spec = TargetSpec(kind=target.kind, operator=operator, calls=False, asynchronous=True, target=target)
    step = through.add(spec).step
    through.step.made_for = step
    return step
