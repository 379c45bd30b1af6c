"""The names under which the state of renamed steps is kept. Pure.

A topic cannot be renamed, so a step that is renamed, `.named("new", was="old")`, keeps the internal topics that it has:
everything that is stored by a name stays as it is, in Kafka, on disk, in snapshots and in the metadata of offsets. A
program finds out by the topics that exist whether they have the present names or former ones:

    a topic of the present name    one of a former name    the name
    yes                            no                      the present one
    no                             yes                     the former one
    no                             no                      the present one: the topic will be created
    yes                            yes                     refused: either may have the state
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ...operators.errors import TopologyError
from ...operators.graph.topology import Repartition, Topology
from .internal_topics import KeptNames, changelog_topic, repartition_topic
from .plan import Partitioned

__all__ = ["kept_names", "refuse_former_names", "unclaimed", "with_kept_names"]


def with_kept_names(partitioned: Partitioned, app_id: str, existing: Collection[str]) -> Partitioned:
    """Return a partitioned topology with the names of the topics that exist.

    Raises TopologyError if there are topics of several names.
    """
    return replace(partitioned, kept=kept_names(partitioned.topology, app_id, existing))


def kept_names(topology: Topology, app_id: str, existing: Collection[str]) -> KeptNames:
    """Return the names under which the stores and repartition topics of renamed steps are kept."""
    stores: dict[str, str] = {}
    repartitions: dict[str, str] = {}
    for node in topology.nodes:
        for state in node.stores:
            spec = state.spec
            if spec.changelog:
                topics = [changelog_topic(app_id, name) for name in (spec.name, *spec.was)]
                found = _found(node.name, topics, existing)
                if found:
                    stores[spec.name] = spec.was[found - 1]
        if isinstance(node, Repartition):
            found = _found(node.name, [repartition_topic(app_id, name) for name in (node.name, *node.was)], existing)
            if found:
                repartitions[node.name] = node.was[found - 1]
    return KeptNames(stores, repartitions)


def _found(step: str, topics: Sequence[str], existing: Collection[str]) -> int:
    """Return the place of the topic that exists, 0 if none does: the first is the present one."""
    there = [place for place, topic in enumerate(topics) if topic in existing]
    if len(there) > 1:
        names = " and ".join(repr(topics[place]) for place in there)
        raise TopologyError(
            f"step {step!r} was renamed, and the topics {names} both exist, as after a start without was=: either may "
            f"have its state. Stop all instances; then remove was= to keep {topics[there[0]]!r}, or delete that topic, "
            "and was= brings the state of the other"
        )
    return there[0] if there else 0


def refuse_former_names(topology: Topology) -> None:
    """Raise TopologyError for stores with former names, which are found by their changelogs."""
    renamed = sorted(node.name for node in topology.nodes if any(state.spec.was for state in node.stores))
    if renamed:
        raise TopologyError(
            'durability is "snapshot", and a renamed step finds its state by its changelog: give '
            f'{", ".join(map(repr, renamed))} the former name again and remove was=, or use durability "changelog"'
        )


def unclaimed(app_id: str, used: Collection[str], existing: Collection[str]) -> list[str]:
    """Return changelogs named like those of the application that it does not use."""
    named = (topic for topic in existing if topic.startswith(f"{app_id}-") and topic.endswith("-changelog"))
    return sorted(topic for topic in named if topic not in used)
