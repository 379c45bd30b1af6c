"""Finds sinks of a task that may write the same topic: their records must interleave. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from ...operators.graph.topology import Node, Sink

__all__ = ["shared_sinks"]


def shared_sinks(nodes: Iterable[Node]) -> dict[int, int]:
    """Return the group number of each sink that may share its topic with another, by node id.

    A sink that shares no topic is not listed.
    """
    topics: dict[int, str | None] = {}
    for node in nodes:
        if isinstance(node, Sink) and node.topic is not None:
            topics[node.id] = node.topic if isinstance(node.topic, str) else None
    if None in topics.values():
        return dict.fromkeys(topics, 0) if len(topics) > 1 else {}
    names = list(topics.values())
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names)) if names.count(name) > 1}
    return {node: numbers[name] for node, name in topics.items() if name in numbers}
