"""The topics that a shadow writes to in place of its output topics. Pure.

A shadow runs a new version of a program beside the old one, and has no effect outside of its own topics. A step that
writes elsewhere cannot be diverted, so a program with such a step cannot be a shadow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...operators.errors import TopologyError
from ...operators.graph.topology import Sink, TargetNode, Topology
from .internal_topics import InternalTopic

__all__ = ["effects_of", "refuse_effects", "shadow_topic", "shadow_topics", "waiting_batches_of"]


def shadow_topic(app_id: str, topic: str) -> str:
    """Return the topic that a shadow writes to in place of an output topic."""
    return f"{app_id}-{topic}-shadow"


def shadow_topics(
    app_id: str, outputs: Iterable[str], existing: Mapping[str, int], settings: Mapping[str, Mapping[str, str]]
) -> list[InternalTopic]:
    """Return the shadow topics of a program.

    Each has as many partitions as the output topic, and accepts records of the same size. One that exists keeps its
    number of partitions.
    """
    return [
        InternalTopic(
            name,
            "shadow",
            existing.get(name, existing[topic]),
            topic,
            largest=settings.get(topic, {}).get("max.message.bytes", ""),
        )
        for topic in sorted(outputs)
        for name in (shadow_topic(app_id, topic),)
    ]


def refuse_effects(app_id: str, topology: Topology) -> None:
    """Raise TopologyError if a program writes to anything but topics that it names."""
    found = effects_of(topology)
    if found:
        raise TopologyError(
            f"{app_id} cannot run as a shadow: "
            + "; ".join(found)
            + ". A shadow must have no effect outside of its own topics: write to a topic, .to('name'), or fork "
            "without --follow and give the new application outputs of its own"
        )


def effects_of(topology: Topology) -> list[str]:
    """Return the steps of a program that write to anything but topics that it names, in words."""
    return [text for node in topology.nodes if (text := _effect(node))]


def waiting_batches_of(topology: Topology) -> list[str]:
    """Return the steps in which records wait for others by the wall clock, in words."""
    return [
        f"in step {node.name!r} records wait until a batch is full or max_wait has passed, by the clock of each version"
        for node in topology.nodes
        if node.kind == "map_batch" and node.sends_by == "clock"
    ]


def _effect(node: object) -> str:
    match node:
        case TargetNode():
            return f"step {node.name!r} writes to a target ({node.kind})"
        case Sink(topic=None):
            return f"step {node.name!r} calls a function ({node.kind})"
        case Sink() if not isinstance(node.topic, str):
            return f"step {node.name!r} chooses its topics by a function"
        case _:
            return ""
