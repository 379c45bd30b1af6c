"""Partition growth: whether a program can continue when a topic gains partitions.

Pure. Stateless sub-topologies continue, with more tasks. State depends on the number of partitions, since that number
decides in which task a key is: with another number, records would meet the state of other keys, or none. A program with
state that was built with another number therefore must not run; the error says why and what to do.

The number that state was built with is known from the plan of a running process, and at the start from the changelog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...operators.errors import TopologyError
from ...operators.graph.topology import Repartition, Source
from .plan import Partitioned, Plan, Synopsis, changelog_topic, plan, topics_of

__all__ = ["Built", "built_before", "built_now", "matches_of", "refuse_misfits", "replanned"]


@dataclass(frozen=True)
class Built:
    """State, and the number of partitions that it was built with."""

    step: str
    partitions: int
    topics: tuple[str, ...]
    """The topics that its sub-topology reads."""
    evidence: str
    """How the number is known, for the error message."""


def matches_of(partitioned: Partitioned, app_id: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the topics that each pattern of a program matches as a whole, sorted.

    Leaves out Kafka's own topics, and the internal topics of the application.
    """
    names = sorted(name for name in names if not name.startswith("__") and not is_internal(app_id, name))
    patterns = [source.pattern for source in partitioned.topology.sources if source.pattern is not None]
    return {pattern: tuple(filter(re.compile(pattern).fullmatch, names)) for pattern in patterns}


def is_internal(app_id: str, topic: str) -> bool:
    """Return whether a topic is an internal one of any version of the application."""
    return topic.startswith(f"{app_id}-") and topic.endswith(("-changelog", "-repartition"))


def built_before(
    partitioned: Partitioned, app_id: str, counts: Mapping[str, int], matches: Mapping[str, tuple[str, ...]]
) -> list[Built]:
    """Return the state that earlier runs have built, according to the changelogs in `counts`."""
    topology = partitioned.topology
    return [
        Built(
            state.spec.name,
            counts[changelog],
            _topics_read(partitioned, app_id, subtopology, matches),
            f"as many as its changelog {changelog!r} has",
        )
        for subtopology in partitioned.subtopologies
        for number in subtopology.nodes
        for state in topology.node(number).stores
        if state.spec.changelog
        and (changelog := changelog_topic(app_id, partitioned.stored(state).spec.name)) in counts
    ]


def built_now(partitioned: Partitioned, running: Plan, matches: Mapping[str, tuple[str, ...]]) -> list[Built]:
    """Return the state that is running; its inputs include the topics that patterns match now."""
    return [
        Built(
            subtopology.stores[0].spec.name,
            subtopology.partitions,
            _topics_read(partitioned, running.app_id, partitioned.subtopologies[subtopology.id], matches),
            "as many as when this process started",
        )
        for subtopology in running.subtopologies
        if subtopology.stores and subtopology.partitions
    ]


def _topics_read(
    partitioned: Partitioned, app_id: str, subtopology: Synopsis, matches: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """Return the topics that decide how many tasks a sub-topology has."""
    topics: list[str] = []
    for read in subtopology.reads:
        node = partitioned.topology.node(read)
        if isinstance(node, Repartition):
            topics.append(partitioned.repartition_topic(app_id, node))
        elif isinstance(node, Source) and not node.broadcast:
            topics.extend(topics_of(node, matches))
    return tuple(topics)


def refuse_misfits(built: Iterable[Built], counts: Mapping[str, int]) -> None:
    """Raise TopologyError if state was built with another number of partitions than in `counts`."""
    for state in built:
        known = {topic: counts[topic] for topic in state.topics if topic in counts}
        widest = max(known.values(), default=state.partitions)
        if widest == state.partitions:
            continue
        topic = min(topic for topic, count in known.items() if count == widest)
        if widest < state.partitions:
            why = "topics cannot lose partitions, so it was deleted and created again: the state is of the old topic"
            advice = "To start from the beginning of the new topic, stop all instances and run `tidemill reset`"
        else:
            why = "with the new number, records would meet the state of other keys"
            advice = (
                "Stop all instances. To keep the state, with the new number, run `tidemill reshard APP --partitions "
                f"{widest}`; to process the inputs again, run `tidemill reset`"
            )
        raise TopologyError(
            f"topic {topic!r} has {widest} partitions now, but the state of step {state.step!r} was built with "
            f"{state.partitions} ({state.evidence}): {why}. {advice}"
        )


def replanned(
    partitioned: Partitioned, running: Plan, counts: Mapping[str, int], matches: Mapping[str, tuple[str, ...]]
) -> Plan:
    """Return the plan for the topics as they are now; the running one if nothing has changed.

    A topic that is missing in `counts` is assumed to be unchanged. Raises TopologyError if the program cannot continue.
    """
    known = {
        topic: count for subtopology in running.subtopologies for topic, count in subtopology.topic_partitions.items()
    }
    for topic, count in known.items():
        if counts.get(topic, count) < count:
            raise TopologyError(
                f"topic {topic!r} has {counts[topic]} partitions now and had {count} before. Topics cannot lose "
                "partitions: it was deleted and created again, and committed offsets and state are of the old topic. "
                "To start from the beginning of the new topic, stop all instances and run `tidemill reset`"
            )
    there = {**known, **counts}
    kept = {
        pattern: tuple(dict.fromkeys((*names, *sorted(_read_by(running, pattern)))))
        for pattern, names in matches.items()
    }
    wider = {topic: there[topic] for names in kept.values() for topic in names if topic in there}
    if all(there[topic] == count for topic, count in known.items()) and wider.keys() <= known.keys():
        return running
    refuse_misfits(built_now(partitioned, running, kept), there)
    return plan(partitioned, running.app_id, there, kept, changelogs=running.changelogs)


def _read_by(running: Plan, pattern: str) -> set[str]:
    return {
        topic
        for subtopology in running.subtopologies
        for topic, node in subtopology.inputs
        if isinstance(node, Source) and node.pattern == pattern
    }
