"""Deleted and re-created topics of a running program: which of them it can continue without.

Pure. A topic that the program names must keep its identity: otherwise the program stops, and the error says what can be
done. A pattern reads the topics that exist, so the program continues without one that was deleted, and reads a
re-created one from its beginning. An output may be re-created: the program keeps nothing about it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...operators.graph.topology import Repartition, Source, Topology
from ..plan.plan import Plan
from .errors import created_again, deleted

__all__ = ["by_pattern", "gone_for_good", "kinds_of", "outputs_of", "refuse_others"]


def outputs_of(topology: Topology) -> frozenset[str]:
    """Return the output topics that a program names."""
    return frozenset(sink.topic for sink in topology.sinks if isinstance(sink.topic, str))


def kinds_of(plan: Plan) -> dict[str, str]:
    """Return the kind of each topic, for messages; `matched` for those read through a pattern."""
    kinds = dict.fromkeys(outputs_of(plan.topology), "output")
    kinds |= {topic.name: topic.kind for topic in plan.internal}
    for subtopology in plan.subtopologies:
        for topic, node in subtopology.inputs:
            if not isinstance(node, Repartition):
                kinds[topic] = "matched" if by_pattern(node, topic) else "input"
    return kinds


def gone_for_good(plan: Plan, gone: Collection[str], ids: Mapping[str, str]) -> frozenset[str]:
    """Return those of the deleted topics that patterns matched; `ids` are their former ids.

    Raises Fatal if another topic was deleted.
    """
    kinds = kinds_of(plan)
    for topic in sorted(gone):
        if kinds.get(topic, "matched") != "matched":
            raise deleted(plan.app_id, kinds[topic], topic, ids.get(topic, ""))
    return frozenset(gone)


def refuse_others(plan: Plan, before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    """Return the topics of patterns that were re-created.

    Raises Fatal if one that the program names was re-created.
    """
    kinds = kinds_of(plan)
    others: set[str] = set()
    for topic, topic_id in sorted(now.items()):
        known = before.get(topic, "")
        kind = kinds.get(topic, "output")
        if known and topic_id and known != topic_id and kind != "output":
            if kind != "matched":
                raise created_again(plan.app_id, kind, topic, known, topic_id)
            others.add(topic)
    return frozenset(others)


def by_pattern(node: Source | Repartition, topic: str) -> bool:
    """Return whether a topic is read only because a pattern matches it."""
    return isinstance(node, Source) and node.pattern is not None and topic not in node.topics
