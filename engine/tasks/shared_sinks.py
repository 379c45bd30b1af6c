"""Which sinks of a task may write one topic together: they take turns, so that their records interleave. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ...operators.graph.topology import Node, Sink

__all__ = ["shared_sinks"]


def shared_sinks(nodes: Iterable[Node]) -> dict[int, int]:
    """Sinks that may write one topic together, by node id: the number of their group. A sink alone is not listed."""
    topics: dict[int, str | None] = {}
    for node in nodes:
        if isinstance(node, Sink) and node.topic is not None:
            topics[node.id] = node.topic if isinstance(node.topic, str) else None
    if None in topics.values():
        return dict.fromkeys(topics, 0) if len(topics) > 1 else {}
    names = list(topics.values())
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names)) if names.count(name) > 1}
    return {node: numbers[name] for node, name in topics.items() if name in numbers}
