"""The targets of a task's sinks, and the offsets that it may commit because of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...operators.graph.operator import Operator
from ...operators.graph.target import TargetWriters
from ...operators.graph.topology import Node, TargetNode
from ...state.topic_partition import TopicPartition
from ..plan.plan import SubTopology

__all__ = ["TaskTargets", "not_beyond"]


@dataclass(frozen=True)
class TaskTargets:
    """Connects the sinks of a task to the writers of their targets."""

    writers: TargetWriters | None
    topic_ids: Mapping[str, str]

    def connect(self, node: Node, operator: Operator, subtopology: SubTopology, partition: int) -> None:
        """Give a sink its writer; other steps get none."""
        if isinstance(node, TargetNode):
            assert self.writers is not None, f"there is nothing that writes to the target of {node.name!r}"
            [(topic, _)] = subtopology.inputs
            topic_id = self.topic_ids.get(topic, "")
            operator.writes_to(self.writers.writer(node.target, node.name, topic, topic_id, partition))


def not_beyond(positions: dict[TopicPartition, int], unwritten: int | None) -> dict[TopicPartition, int]:
    """Return the offsets that may be committed: none beyond the first that is not in a target."""
    if unwritten is None:
        return positions
    return {key: min(offset, unwritten) for key, offset in positions.items()}
