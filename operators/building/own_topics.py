"""Which sinks of targets read the topic of their stream as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .specs import RepartitionSpec, SourceSpec, TargetSpec
from .step import StepDefinition

__all__ = ["needless_topics"]


def needless_topics(steps: Sequence[StepDefinition]) -> Mapping[int, int]:
    """Return the topics made for sinks of targets that are not needed.

    To each belongs the step that the sink reads instead. That is a source or repartition of one topic that nothing but
    such sinks reads: a task commits one offset of a topic, and that of a sink is its position in the target, while
    other steps have gone further.
    """
    readers: dict[int, list[StepDefinition]] = {step.id: [] for step in steps}
    for step in steps:
        for edge in step.inputs:
            readers[edge.node].append(step)
    histories = [step.spec.history for step in steps if isinstance(step.spec, RepartitionSpec)]
    of_two_topics = {history.source for history in histories if history is not None}
    needless: dict[int, int] = {}
    for step in steps:
        alone = step.id not in of_two_topics and _of_one_topic(step)
        if alone and readers[step.id] and all(map(_for_target, readers[step.id])):
            needless.update((reader.id, step.id) for reader in readers[step.id])
    return needless


def _of_one_topic(step: StepDefinition) -> bool:
    spec = step.spec
    if isinstance(spec, SourceSpec):
        return len(spec.topics) == 1 and spec.pattern is None and not spec.broadcast
    return isinstance(spec, RepartitionSpec) and not _for_target(step)


def _for_target(step: StepDefinition) -> bool:
    return (
        isinstance(step.spec, RepartitionSpec)
        and step.made_for is not None
        and isinstance(step.made_for.spec, TargetSpec)
    )
