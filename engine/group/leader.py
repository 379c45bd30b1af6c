"""The work of the leader of a generation: from the metadata of all members to their plans."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..assignment.assignment import AssignmentPolicy, assign
from ..errors import Fatal
from ..kafka.protocol import JoinGroupResponse
from .metadata.member_metadata import SubTopologyInfo, SubTopologyNumbering

__all__ = ["GroupAssignment", "perform_assignment", "too_large", "warn_of_size"]

log = logging.getLogger(__name__)

USUAL_LIMIT = 1_048_588
"""The largest record that a broker accepts by default."""
WORTH_A_WARNING = 0.8
"""The share of this limit from which the leader warns."""
OVERHEAD = 128
"""The approximate number of bytes that Kafka adds to the record per member."""


@dataclass(frozen=True)
class GroupAssignment:
    """The plans of a generation, as encoded for the group."""

    shared: bytes
    assignments: Mapping[str, bytes]
    size: int
    """Bytes of the record in which Kafka stores the group."""


def perform_assignment(
    joined: JoinGroupResponse, policy: AssignmentPolicy, parts: tuple[SubTopologyInfo, ...]
) -> GroupAssignment:
    """Decide the assignment, which takes seconds in a large group.

    Raises ProtocolError if a member is not a Tidemill process.
    """
    catalogue = SubTopologyNumbering(joined.members)
    plans = assign(catalogue.members(), joined.generation, replace(policy, near=catalogue.near(parts)))
    shared = catalogue.shared(plans)
    assignments = catalogue.assignments(plans, shared, joined.member)
    received = sum(len(name) + len(data) + OVERHEAD for name, data in joined.members)
    return GroupAssignment(shared, assignments, received + sum(map(len, assignments.values())))


def warn_of_size(group: str, led: GroupAssignment) -> None:
    """Log a warning if the group is about to become too large for its record."""
    if led.size > WORTH_A_WARNING * USUAL_LIMIT:
        log.warning(
            "the assignment of group %s has %d bytes for %d members; brokers accept %d by default (max.message.bytes "
            "of the topic __consumer_offsets). Raise that limit before adding members, or run fewer",
            *(group, led.size, len(led.assignments), USUAL_LIMIT),
        )


def too_large(group: str, led: GroupAssignment | None) -> Fatal:
    """Make the error for a plan that Kafka rejects. Only the leader knows its size."""
    size = "the group's assignment"
    if led is not None:
        size += f" of {led.size:,} bytes for {len(led.assignments)} members"
    return Fatal(
        f"Kafka rejected {size}: it is one record of the topic __consumer_offsets, for which brokers accept "
        f"{USUAL_LIMIT:,} bytes by default. Raise max.message.bytes of that topic (or message.max.bytes of the "
        f"brokers), or run fewer members of {group!r}. If the record is smaller, the brokers' log has the reason"
    )
