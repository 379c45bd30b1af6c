"""The sub-topologies before and after, and why their state cannot move. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ...operators.graph.topology import OperatorState, Repartition, Source, TargetNode
from ...state.topic_partition import TopicPartition
from ..kafka.partitioners import MURMUR2, PARTITIONERS
from ..plan.description import plural
from ..plan.plan import Plan, SubTopology
from ..snapshots.savepoint import Savepoint
from .rules import splits

__all__ = ["Part", "parts_of", "refused"]


@dataclass(frozen=True)
class Part:
    """A sub-topology with both numbers of its tasks."""

    now: SubTopology
    old: int
    new: int
    partitioners: tuple[str, ...]
    """How producers may choose the partitions of its input topics."""
    stores: Mapping[str, OperatorState]
    references: Mapping[str, int] = field(default_factory=dict[str, int])
    """For stores whose values name a partition of another sub-topology, the number of that."""
    referring: frozenset[str] = frozenset()
    """The repartition topics that it reads or writes whose records name partitions, or are placed by such names."""

    @property
    def id(self) -> int:
        """Its number in the program."""
        return self.now.id

    @property
    def moves(self) -> bool:
        """Whether the number of its tasks changes."""
        return self.old != self.new

    @property
    def sources(self) -> tuple[str, ...]:
        """The topics of the user that it reads."""
        return tuple(topic for topic, node in self.now.inputs if isinstance(node, Source))

    @property
    def windowed_inputs(self) -> bool:
        """Whether it reads topics whose keys are windows."""
        return any(getattr(node.key, "suffix", 0) for _, node in self.now.inputs)


def parts_of(savepoint: Savepoint, plan: Plan, partitioners: Collection[str] = tuple(PARTITIONERS)) -> tuple[Part, ...]:
    """Return the sub-topologies with both numbers of tasks.

    The plan must be of the program that the savepoint is of; `partitioners` are those that producers of input topics
    may use.
    """
    old = {part.id: part.partitions for part in savepoint.subtopologies}
    found: list[Part] = []
    for part in plan.subtopologies:
        external = any(isinstance(node, Source) for _, node in part.inputs)
        names = tuple(partitioners) if external else (MURMUR2,)
        stores = {state.spec.name: state for state in part.stores}
        references, referring = _references(plan, part)
        found.append(Part(part, old[part.id], part.partitions, names, stores, references, referring))
    return tuple(found)


def _references(plan: Plan, part: SubTopology) -> tuple[dict[str, int], frozenset[str]]:
    """Return the sub-topologies whose partitions stores name, and topics whose records do."""
    readers = {topic: other.id for other in plan.subtopologies for topic, _ in other.inputs}
    found: dict[str, int] = {}
    topics: set[str] = set()
    kept = part.kept
    for node in part.nodes:
        for state in node.stores:
            placement = state.codec.placement
            if placement is None or placement.references is None:
                continue
            [answers] = [after for after in plan.topology.consumers(node.id) if isinstance(after, Repartition)]
            found[kept.get(state.spec.name, state.spec.name)] = readers[part.writes[answers.id]]
            asked = plan.topology.node(node.inputs[0].node)
            topics |= {topic for topic, reader in part.inputs if reader.id == asked.id} | {part.writes[answers.id]}
    return found, frozenset(topics)


def refused(parts: Sequence[Part], waiting: Mapping[TopicPartition, int]) -> list[str]:
    """Return why state cannot be moved as it is; nothing if it can.

    `waiting` has the numbers of records in flight.
    """
    found = [
        f"store {name!r} ({state.shape or 'of a kind without a description'}) cannot be moved: it is not known which "
        f"keys its entries belong to. Keep the {part.old} partitions that its topics have, or process the inputs again "
        "with the new number, after `tidemill reset`"
        for part in parts
        for name, state in part.stores.items()
        if part.moves and state.codec.placement is None
    ]
    found += [
        f"step {node.name!r} reads a history before a topic, and its positions are by partition: keep the numbers of "
        "partitions, or process the inputs again with the new number, after `tidemill reset`"
        for part in parts
        for node in part.now.nodes
        if isinstance(node, Repartition) and node.history is not None and any(other.moves for other in parts)
    ]
    readers = {topic: part for part in parts for topic, _ in part.now.inputs}
    referring = {topic for part in parts for topic in part.referring}
    for (topic, partition), count in sorted(waiting.items()):
        part = readers.get(topic)
        why = ""
        if part is None or not count:
            continue
        if topic in referring and any(other.moves for other in parts):
            why = "they name partitions as they are now"
        elif any(isinstance(node, TargetNode) for node in part.now.nodes):
            why = "the target may have some of them already"
        elif part.stores and part.moves and not splits(part.old, part.new):
            why = "tasks that are at different times become one, for which they could be late"
        if why:
            found.append(
                f"{plural(count, 'record')} wait in partition {partition} of the repartition topic {topic!r}, and "
                f"{why}: start the application until they are processed (`tidemill status` shows no lag), and stop it "
                "again"
            )
    return found
