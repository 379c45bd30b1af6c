"""The repartition topics with marks: readers use watermarks or event-time order.

Pure. A topic on a path back to the tasks that write it carries none: the tasks would wait for each other forever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...operators.graph.topology import Node, Repartition, Source
from .records import UpstreamTasks, mark_id

__all__ = ["MarkTopics", "mark_topics"]


class MarkingSubTopology(Protocol):
    """The properties of a sub-topology that are needed here."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def partitions(self) -> int: ...
    @property
    def inputs(self) -> tuple[tuple[str, Source | Repartition], ...]: ...
    @property
    def topic_partitions(self) -> Mapping[str, int]: ...
    @property
    def nodes(self) -> tuple[Node, ...]: ...
    @property
    def writes(self) -> Mapping[int, str]: ...
    @property
    def histories(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class MarkTopics:
    """The topics on which the tasks of a sub-topology receive and write marks."""

    producers: dict[str, UpstreamTasks] = field(default_factory=dict[str, UpstreamTasks])
    """The tasks that write marks to the repartition topics that it reads."""
    marked_repartitions: dict[int, int] = field(default_factory=dict[int, int])
    """The repartitions that it writes marks to, by node id, with the partition counts of their topics."""
    silent: set[str] = field(default_factory=set[str])
    """The repartition topics without marks that it reads: they come, directly or not, from what it writes."""


def mark_topics(parts: Sequence[MarkingSubTopology]) -> dict[int, MarkTopics]:
    """Return the topics with marks, by sub-topology."""
    found = {subtopology.id: MarkTopics() for subtopology in parts}
    writers = {topic: subtopology for subtopology in parts for topic in subtopology.writes.values()}
    for reader in parts:
        after = _after(reader, parts)
        in_order = any(node.in_order for node in reader.nodes)
        for topic, node in reader.inputs:
            writer = writers.get(topic)
            if writer is None or topic in reader.histories:
                continue  # a history is in order, and is waited for until its end
            if writer.id in after:
                found[reader.id].silent.add(topic)
            elif in_order or node.watermark is not None:
                found[reader.id].producers[topic] = UpstreamTasks(mark_id(writer.name), writer.partitions)
                found[writer.id].marked_repartitions[node.id] = reader.topic_partitions[topic]
    return found


def _after(subtopology: MarkingSubTopology, parts: Iterable[MarkingSubTopology]) -> set[int]:
    """Return the sub-topologies that read what this one writes, directly or through others."""
    readers: Mapping[str, int] = {topic: other.id for other in parts for topic, _ in other.inputs}
    writes = {other.id: other.writes.values() for other in parts}
    found: set[int] = set()
    pending = [subtopology.id]
    while pending:
        for topic in writes[pending.pop()]:
            reader = readers.get(topic)
            if reader is not None and reader not in found:
                found.add(reader)
                pending.append(reader)
    return found
