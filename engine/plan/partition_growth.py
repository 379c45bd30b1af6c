"""What it means that a topic has another number of partitions than before: whether to go on with it, or not to start.

Pure. Tasks without state go on: there are more of them. State is bound to a number of partitions, since that number
decides where a key's records are; with another one they would meet the state of other keys, or none. So a program whose
state was built with another number must not run, and says why and what to do.

The number that state was built with is known from the plan of a running process, and at the start from the changelog.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ...operators.errors import TopologyError
from ...operators.graph.topology import Repartition, Source
from .plan import Partitioned, Plan, Synopsis, changelog_topic, plan, repartition_topic, topics_of

__all__ = ["Built", "built_before", "built_now", "matches_of", "refuse_misfits", "replanned"]


@dataclass(frozen=True)
class Built:
    """State, and the number of partitions that it was built with."""

    step: str
    partitions: int
    topics: tuple[str, ...]
    """What its sub-topology reads."""
    evidence: str
    """How the number is known, for people."""


def matches_of(partitioned: Partitioned, app_id: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The topics whose whole name each pattern of a program matches, sorted. Kafka's own are left out, and those that
    the application makes for itself."""
    names = sorted(name for name in names if not name.startswith("__") and not is_internal(app_id, name))
    patterns = [source.pattern for source in partitioned.topology.sources if source.pattern is not None]
    return {pattern: tuple(filter(re.compile(pattern).fullmatch, names)) for pattern in patterns}


def is_internal(app_id: str, topic: str) -> bool:
    """Whether a topic is one that the application makes for itself, in this version of it or in another."""
    return topic.startswith(f"{app_id}-") and topic.endswith(("-changelog", "-repartition"))


def built_before(
    partitioned: Partitioned, app_id: str, counts: Mapping[str, int], matches: Mapping[str, tuple[str, ...]]
) -> list[Built]:
    """What earlier runs have built, as the changelogs among `counts` tell."""
    topology = partitioned.topology
    return [
        Built(
            state.spec.name,
            counts[changelog],
            _topics_read(partitioned, app_id, part, matches),
            f"so many has its changelog {changelog!r}",
        )
        for part in partitioned.parts
        for number in part.nodes
        for state in topology.node(number).stores
        if state.spec.changelog and (changelog := changelog_topic(app_id, state.spec.name)) in counts
    ]


def built_now(partitioned: Partitioned, running: Plan, matches: Mapping[str, tuple[str, ...]]) -> list[Built]:
    """The state that runs at the moment; its sub-topologies read what patterns match by now."""
    return [
        Built(
            part.stores[0].spec.name,
            part.partitions,
            _topics_read(partitioned, running.app_id, partitioned.parts[part.id], matches),
            "so many it had when this process started",
        )
        for part in running.parts
        if part.stores and part.partitions
    ]


def _topics_read(
    partitioned: Partitioned, app_id: str, part: Synopsis, matches: Mapping[str, tuple[str, ...]]
) -> tuple[str, ...]:
    """The topics that decide how many tasks a sub-topology has."""
    topics: list[str] = []
    for read in part.reads:
        node = partitioned.topology.node(read)
        if isinstance(node, Repartition):
            topics.append(repartition_topic(app_id, node))
        elif isinstance(node, Source) and not node.broadcast:
            topics.extend(topics_of(node, matches))
    return tuple(topics)


def refuse_misfits(built: Iterable[Built], counts: Mapping[str, int]) -> None:
    """Raises TopologyError when state was built with another number of partitions than its inputs have by `counts`."""
    for state in built:
        known = {topic: counts[topic] for topic in state.topics if topic in counts}
        widest = max(known.values(), default=state.partitions)
        if widest == state.partitions:
            continue
        topic = min(topic for topic, count in known.items() if count == widest)
        if widest < state.partitions:
            why = "a topic cannot lose partitions, so it was deleted and created again, and the state is of the old one"
            advice = "To start from the beginning of the new topic, stop all instances and run `tidemill reset`"
        else:
            why = "with the new number, records would meet the state of other keys"
            advice = "To process the inputs again with the new number, stop all instances and run `tidemill reset`"
        raise TopologyError(
            f"topic {topic!r} has {widest} partitions now, but the state of step {state.step!r} was built with "
            f"{state.partitions} ({state.evidence}): {why}. {advice}"
        )


def replanned(
    partitioned: Partitioned, running: Plan, counts: Mapping[str, int], matches: Mapping[str, tuple[str, ...]]
) -> Plan:
    """The plan that fits the topics as they are now; the running one when nothing has changed.

    A topic that is missing among `counts` is taken to be as it was. Raises TopologyError when the program cannot go on
    with what has changed.
    """
    known = {topic: count for part in running.parts for topic, count in part.topic_partitions.items()}
    for topic, count in known.items():
        if counts.get(topic, count) < count:
            raise TopologyError(
                f"topic {topic!r} has {counts[topic]} partitions now and had {count} before: a topic cannot lose "
                "partitions, so it was deleted and created again, and committed offsets and state are of the old one. "
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
    return plan(partitioned, running.app_id, there, kept)


def _read_by(running: Plan, pattern: str) -> set[str]:
    return {
        topic
        for part in running.parts
        for topic, node in part.inputs
        if isinstance(node, Source) and node.pattern == pattern
    }
