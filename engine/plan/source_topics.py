"""The topics that sources read, and the steps that belong to the reading of a history. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ...operators.errors import TopologyError
from ...operators.graph.topology import Node, Repartition, Source, Topology

__all__ = ["of_history", "refuse_shared_topics", "topics_of"]


def of_history(node: Node) -> bool:
    """Return whether a node belongs to the reading of a history."""
    return isinstance(node, Repartition) and (node.history is not None or not node.inputs)


def topics_of(node: Source, matches: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the topics that a source reads, given those that each pattern matches."""
    if node.pattern is None:
        return node.topics
    return tuple(dict.fromkeys((*node.topics, *matches.get(node.pattern, ()))))


def refuse_shared_topics(topology: Topology, topics: Mapping[int, tuple[str, ...]]) -> None:
    readers: dict[str, str] = {}
    for node_id, names in topics.items():
        for name in names:
            mine = topology.node(node_id).name
            if readers.setdefault(name, mine) != mine:
                raise TopologyError(
                    f"topic {name!r} is read by two sources ({readers[name]!r} and {mine!r}, one of them by a "
                    "pattern); narrow the pattern so that each topic is read once"
                )
