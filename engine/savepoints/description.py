"""A sub-topology as savepoints and messages describe it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ...operators.graph.topology import Sink
from ..plan.plan import SubTopology
from ..snapshots.savepoint import SavepointSubTopology

__all__ = ["described"]


def described(part: SubTopology) -> SavepointSubTopology:
    """Return a sub-topology as a savepoint has it."""
    names: Mapping[int, str] = {node.id: node.name for node in part.nodes}
    return SavepointSubTopology(
        part.id,
        part.name,
        part.fingerprint,
        part.partitions,
        [topic for topic, _ in part.inputs],
        {state.spec.name: state.shape for state in part.stores},
        dict(part.changelogs),
        {topic: names[node] for node, topic in part.writes.items()},
        tuple(sorted({node.topic for node in part.nodes if isinstance(node, Sink) and isinstance(node.topic, str)})),
    )
