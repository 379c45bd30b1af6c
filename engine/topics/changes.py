"""What a look at the topics of a running program means: which are gone, which are others under the same name.

Pure. A topic that the program names must stay the one it was: otherwise the program stops and says what can be done. A
pattern reads whatever topics there are, so the rest goes on without one that is gone, and reads one that was created
again from its beginning. An output may be created again: nothing is remembered of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ...operators.graph.topology import Repartition, Source, Topology
from ..plan.plan import Plan
from .errors import created_again, deleted

__all__ = ["by_pattern", "gone_for_good", "kinds_of", "outputs_of", "refuse_others"]


def outputs_of(topology: Topology) -> frozenset[str]:
    """The output topics that a program names."""
    return frozenset(sink.topic for sink in topology.sinks if isinstance(sink.topic, str))


def kinds_of(plan: Plan) -> dict[str, str]:
    """What each topic of a program is, for messages; `matched` for one that is read because a pattern matches it."""
    kinds = dict.fromkeys(outputs_of(plan.topology), "output")
    kinds |= {topic.name: topic.kind for topic in plan.internal}
    for part in plan.parts:
        for topic, node in part.inputs:
            if not isinstance(node, Repartition):
                kinds[topic] = "matched" if by_pattern(node, topic) else "input"
    return kinds


def gone_for_good(plan: Plan, gone: Collection[str], ids: Mapping[str, str]) -> frozenset[str]:
    """The topics of patterns among those that are gone. Raises Fatal for another one; `ids` are those it had."""
    kinds = kinds_of(plan)
    for topic in sorted(gone):
        if kinds.get(topic, "matched") != "matched":
            raise deleted(plan.app_id, kinds[topic], topic, ids.get(topic, ""))
    return frozenset(gone)


def refuse_others(plan: Plan, before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    """The topics of patterns that are others than before. Raises Fatal for one that the program names."""
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
    """Whether a topic is read because a pattern matches it."""
    return isinstance(node, Source) and node.pattern is not None and topic not in node.topics
