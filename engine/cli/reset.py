"""The plan of a reset: what it removes or commits. Pure.

With the program, its internal topics are known by name. With only the application id, they are found by the pattern of
their names, `<app>-<step>-repartition`, `<app>-<store>-changelog` and `<app>-<output>-shadow`. Names that may belong to
another application, whose id begins with this one, are kept and reported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...operators.graph.topology import Repartition, Topology
from ...state.topic_partition import TopicPartition
from ..plan.internal_topics import changelog_topic, repartition_topic
from ..plan.shadow_topics import shadow_topic
from ..tasks.topic_ids import accepted, restarted
from ..topics.changes import outputs_of

__all__ = ["ResetPlan", "by_name", "by_program", "describe_removal", "one_topic", "store_of"]

SUFFIXES: Final = ("-repartition", "-changelog", "-shadow")


@dataclass(frozen=True)
class ResetPlan:
    """Topics to delete, and those kept because they may belong to another application."""

    topics: tuple[str, ...]
    left: tuple[str, ...] = ()


def by_program(app_id: str, topology: Topology, existing: Collection[str]) -> ResetPlan:
    """Return the internal topics of a program that exist."""
    names = {
        repartition_topic(app_id, name)
        for node in topology.nodes
        if isinstance(node, Repartition)
        for name in (node.name, *node.was)
    }
    names |= {
        changelog_topic(app_id, name)
        for node in topology.nodes
        for state in node.stores
        if state.spec.changelog
        for name in (state.spec.name, *state.spec.was)
    }
    names |= {shadow_topic(app_id, topic) for topic in outputs_of(topology)}
    return ResetPlan(tuple(sorted(names & set(existing))))


def by_name(app_id: str, existing: Iterable[str], groups: Iterable[str]) -> ResetPlan:
    """Return the topics named like internal ones of this application; `groups` all exist."""
    others = [group for group in groups if group.startswith(f"{app_id}-")]
    topics: list[str] = []
    left: list[str] = []
    for name in sorted(existing):
        if name.startswith(f"{app_id}-") and name.endswith(SUFFIXES):
            foreign = any(name.startswith(f"{other}-") for other in others)
            (left if foreign else topics).append(name)
    return ResetPlan(tuple(topics), tuple(left))


def one_topic(
    app_id: str,
    topic: str,
    committed: Mapping[TopicPartition, tuple[int, str]],
    begins: Mapping[TopicPartition, int],
    topic_id: str,
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the offsets to commit so that an application accepts a recreated topic.

    An input is then read from its beginning, and the state of a changelog is its content, whether or not the
    application had such a store. The result is empty if nothing is committed for the topic.
    """
    store = store_of(app_id, topic)
    if store:
        changed = {key: (offset, accepted(metadata, store)) for key, (offset, metadata) in committed.items()}
        return {key: new for key, new in changed.items() if new != committed[key]}
    known = {key: metadata for key, (_, metadata) in committed.items() if key[0] == topic}
    if not known:
        return {}
    return {key: (offset, restarted(known.get(key, ""), topic_id)) for key, offset in begins.items()}


def store_of(app_id: str, topic: str) -> str:
    """Return the store of a changelog topic; "" if the topic is no changelog of the application."""
    store = topic.removeprefix(f"{app_id}-").removesuffix("-changelog")
    return store if topic == changelog_topic(app_id, store) else ""


def describe_removal(group: str, offsets: int, removal: ResetPlan, directories: Iterable[Path]) -> list[str]:
    """Return one line for each thing that is removed or kept."""
    lines = [f"delete the group {group!r} with {offsets} committed offsets"] if offsets else []
    lines += [f"delete the topic {name}" for name in removal.topics]
    lines += [f"remove the directory {path}" for path in directories]
    return lines + [f"leave the topic {name}: it may belong to another application" for name in removal.left]
