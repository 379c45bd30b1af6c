"""The decisions of a cut-over, by the committed offsets of both groups. Pure.

    ready ──▶ standing ──▶ switched
      ▲           │
      └── undone ─┘

Each task of both applications commits that it stands still, all of them at the same offsets of the inputs. One
transaction changes the roles in all these offsets then: the old application is retired, the new one promoted. Until
then, it can be undone, by a transaction as well. A task that stands still commits nothing, and none is opened from such
an offset, so what was read here is true when the transaction is made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...state.topic_partition import TopicPartition
from ..errors import ConfigError
from ..savepoints.cut import Broken, Complete, Incomplete
from ..savepoints.messages import Report
from ..snapshots.savepoint import SavepointSubTopology
from ..tasks.roles import Role, role_in, role_of, with_role

__all__ = [
    "Committed",
    "Pair",
    "drained",
    "inputs_of",
    "refuse_different_inputs",
    "refuse_reports",
    "repartitions_of",
    "role_in_group",
    "stage_of",
    "stood",
    "switched",
    "undone",
]

Committed = Mapping[TopicPartition, tuple[int, str]]
"""Committed next offsets with their metadata."""
Stage = Literal["ready", "standing", "switched", "other"]


@dataclass(frozen=True)
class Pair:
    """The committed offsets of both groups."""

    old: Committed
    new: Committed


def stage_of(old: str, new: str, found: Pair) -> Stage:
    """Return how far the cut-over of two applications is; "other" if they are no such pair."""
    was, now = role_in_group(found.old), role_in_group(found.new)
    if (was.standing and was.other == new) or (now.standing and now.other == old):
        return "standing"
    if was.retired and was.other == new:
        return "switched"
    return "ready" if now.shadow and now.other == old and not was.shadow and not was.retired else "other"


def role_in_group(committed: Committed) -> Role:
    """Return the role of an application."""
    return role_of(metadata for _, metadata in committed.values())


def undone(committed: Committed) -> dict[TopicPartition, tuple[int, str]]:
    """Return what to commit so that the tasks that stand still go on as before.

    Other tasks may be committing, so nothing is said of their inputs.
    """
    return {
        key: (offset, with_role(metadata, role.undone()))
        for key, (offset, metadata) in committed.items()
        if (role := role_in(metadata)).standing
    }


def switched(committed: Committed, at: int) -> dict[TopicPartition, tuple[int, str]]:
    """Return what to commit for the new role, when all tasks of the group stand still."""
    role = role_in_group(committed).switched(at)
    return {key: (offset, with_role(metadata, role)) for key, (offset, metadata) in committed.items()}


def stood(
    held: Mapping[TopicPartition, int], committed: Committed, attempt: str, ends: Mapping[TopicPartition, int]
) -> Complete | Incomplete | Broken:
    """Return whether all tasks of a group stand still at the offsets at which they were held.

    `ends` are those of repartition topics, of which nothing may be left to read.
    """
    for key, offset in sorted(held.items()):
        found = committed.get(key)
        if found is None or found[0] != offset or ends.get(key, offset) > offset:
            return Broken(f"topic {key[0]!r}, partition {key[1]} was not held at offset {offset}: its task has moved")
    missing = sum(not (role := role_in(committed[key][1])).standing or role.stamp != attempt for key in held)
    return Incomplete(f"{missing} of {len(held)} inputs are not committed yet") if missing else Complete({})


def drained(
    inputs: Mapping[TopicPartition, int], internal: Mapping[TopicPartition, int], committed: Committed
) -> Incomplete | Complete:
    """Return whether a group has read its inputs and repartition topics up to these offsets."""
    behind = {
        key: end - at
        for key, end in {**inputs, **internal}.items()
        if (at := committed[key][0] if key in committed else 0) < end
    }
    if not behind:
        return Complete({})
    topic, number = max(behind, key=lambda key: behind[key])
    return Incomplete(f"{behind[topic, number]:,} offsets behind in topic {topic!r}, partition {number}")


def repartitions_of(parts: Iterable[SavepointSubTopology]) -> frozenset[str]:
    """Return the repartition topics of an application."""
    return frozenset(topic for part in parts for topic in part.writes)


def inputs_of(offsets: Mapping[TopicPartition, int], repartitions: Collection[str]) -> dict[TopicPartition, int]:
    """Return the offsets of topics that the application does not write for itself."""
    return {key: at for key, at in offsets.items() if key[0] not in repartitions}


def refuse_reports(application: str, reports: Iterable[Report]) -> None:
    """Raise ConfigError for an application that cannot be cut over exactly."""
    for report in reports:
        why = ""
        if report.guarantee != "exactly_once":
            why = 'its guarantee is "at_least_once", so that inputs could be in the output of both versions'
        elif report.effects:
            why = (
                f"{'; '.join(report.effects)}. Both versions must read topics, write to topics that they name, and "
                "send the results of a record without waiting for others"
            )
        elif any(part.stores.keys() - part.changelogs.keys() for part in report.subtopologies):
            why = 'it runs with durability "snapshot": a shadow has its state in changelogs'
        if why:
            raise ConfigError(f"{application} cannot take part in a cut-over: {why}")


def refuse_different_inputs(
    old: str, new: str, old_parts: Sequence[SavepointSubTopology], new_parts: Sequence[SavepointSubTopology]
) -> None:
    """Raise ConfigError unless both versions read the same topics."""
    topics = [
        {topic for part in parts for topic in part.inputs} - repartitions_of(parts) for parts in (old_parts, new_parts)
    ]
    for one, other, more in ((old, new, topics[0] - topics[1]), (new, old, topics[1] - topics[0])):
        if more:
            raise ConfigError(
                f"{one} reads {', '.join(sorted(more))} and {other} does not, so there is no position at which one "
                f"takes over from the other. Stop {old}, and start the new version under its id (docs/upgrades.md)"
            )
