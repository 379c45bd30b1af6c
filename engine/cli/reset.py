"""What a reset of an application removes or commits. Pure: from names and numbers to a value that people read first.

With the program at hand its internal topics are known by name. With the application id alone they are found by their
form, `<app>-<step>-repartition` and `<app>-<store>-changelog`; names that may belong to another application, one whose
id goes on where this one ends, are left alone and said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ...operators.graph.topology import Repartition, Topology
from ..tasks.topic_ids import accepted, restarted

__all__ = ["Removal", "by_form", "by_program", "described", "one_topic"]

Key = tuple[str, int]
SUFFIXES: Final = ("-repartition", "-changelog")


@dataclass(frozen=True)
class Removal:
    """Topics to delete, and those that are left because they may be another application's."""

    topics: tuple[str, ...]
    left: tuple[str, ...] = ()


def by_program(app_id: str, topology: Topology, existing: Collection[str]) -> Removal:
    """The internal topics of a program, as far as they exist."""
    names = {f"{app_id}-{node.name}-repartition" for node in topology.nodes if isinstance(node, Repartition)}
    names |= {
        f"{app_id}-{state.spec.name}-changelog"
        for node in topology.nodes
        for state in node.stores
        if state.spec.changelog
    }
    return Removal(tuple(sorted(names & set(existing))))


def by_form(app_id: str, existing: Iterable[str], groups: Iterable[str]) -> Removal:
    """The topics that look like internal ones of this application. `groups` are the groups there are."""
    others = [group for group in groups if group.startswith(f"{app_id}-")]
    topics: list[str] = []
    left: list[str] = []
    for name in sorted(existing):
        if name.startswith(f"{app_id}-") and name.endswith(SUFFIXES):
            foreign = any(name.startswith(f"{other}-") for other in others)
            (left if foreign else topics).append(name)
    return Removal(tuple(topics), tuple(left))


def one_topic(
    app_id: str, topic: str, committed: Mapping[Key, tuple[int, str]], begins: Mapping[Key, int], topic_id: str
) -> dict[Key, tuple[int, str]]:
    """The offsets with metadata to commit so that an application accepts a topic that was created again: an input is
    read from its beginning, and a changelog's state is what it holds. Empty when nothing is committed for the topic."""
    store = topic.removeprefix(f"{app_id}-").removesuffix("-changelog")
    if topic == f"{app_id}-{store}-changelog":
        changed = {key: (offset, accepted(metadata, store)) for key, (offset, metadata) in committed.items()}
        return {key: new for key, new in changed.items() if new != committed[key]}
    known = {key: metadata for key, (_, metadata) in committed.items() if key[0] == topic}
    if not known:
        return {}
    return {key: (offset, restarted(known.get(key, ""), topic_id)) for key, offset in begins.items()}


def described(group: str, offsets: int, removal: Removal, directories: Iterable[Path]) -> list[str]:
    """One line for each thing that goes or stays."""
    lines = [f"delete the group {group!r} with {offsets} committed offsets"] if offsets else []
    lines += [f"delete the topic {name}" for name in removal.topics]
    lines += [f"remove the directory {path}" for path in directories]
    return lines + [f"leave the topic {name}: it may belong to another application" for name in removal.left]
