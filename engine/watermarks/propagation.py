"""Which repartition topics carry marks: those whose readers go by watermarks, or take a backlog in order of event time.

Pure. A topic that is on a way back to the tasks that write it carries none: each would wait for the other for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...operators.graph.topology import Node, Repartition, Source
from .records import Producers, told_as

__all__ = ["Marking", "markings"]


class Part(Protocol):
    """A sub-topology."""

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


@dataclass(frozen=True)
class Marking:
    """On which topics the tasks of a sub-topology are told the time, and on which they tell it."""

    producers: dict[str, Producers] = field(default_factory=dict[str, Producers])
    """Who tells its time on the repartition topics that it reads."""
    tells: dict[int, int] = field(default_factory=dict[int, int])
    """The repartitions that it writes marks to, by node id: the partitions of their topics."""
    silent: set[str] = field(default_factory=set[str])
    """The repartition topics that it reads and that come, by whatever way, from what it writes."""


def markings(parts: Sequence[Part]) -> dict[int, Marking]:
    """For each sub-topology."""
    found = {part.id: Marking() for part in parts}
    writers = {topic: part for part in parts for topic in part.writes.values()}
    for reader in parts:
        after = _after(reader, parts)
        in_order = any(node.in_order for node in reader.nodes)
        for topic, node in reader.inputs:
            writer = writers.get(topic)
            if writer is None:
                continue
            if writer.id in after:
                found[reader.id].silent.add(topic)
            elif in_order or node.watermark is not None:
                found[reader.id].producers[topic] = Producers(told_as(writer.name), writer.partitions)
                found[writer.id].tells[node.id] = reader.topic_partitions[topic]
    return found


def _after(part: Part, parts: Iterable[Part]) -> set[int]:
    """Sub-topologies that read what this one writes, and what those write, and so on."""
    readers: Mapping[str, int] = {topic: other.id for other in parts for topic, _ in other.inputs}
    writes = {other.id: other.writes.values() for other in parts}
    found: set[int] = set()
    pending = [part.id]
    while pending:
        for topic in writes[pending.pop()]:
            reader = readers.get(topic)
            if reader is not None and reader not in found:
                found.add(reader)
                pending.append(reader)
    return found
