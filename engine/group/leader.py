"""What the leader of a generation does: from what all members say to what each of them gets."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..assignment.assignment import Policy, assign
from ..errors import Fatal
from ..kafka.protocol import Joined
from .metadata.user_data import Catalogue, Part

__all__ = ["Led", "lead", "too_large", "warn_of_size"]

log = logging.getLogger(__name__)

USUAL_LIMIT = 1_048_588
"""The largest record that a broker takes, unless it is set otherwise."""
WORTH_A_WARNING = 0.8
"""From this share of it on."""
OVERHEAD = 128
"""What Kafka adds to the record for each member, about."""


@dataclass(frozen=True)
class Led:
    """A generation's plans as they go to the group."""

    shared: bytes
    assignments: Mapping[str, bytes]
    size: int
    """Bytes of the record in which Kafka keeps the group."""


def lead(joined: Joined, policy: Policy, parts: tuple[Part, ...]) -> Led:
    """Decides who does what. Takes seconds in a large group. Raises Broken when a member is of another kind."""
    catalogue = Catalogue(joined.members)
    plans = assign(catalogue.members(), joined.generation, replace(policy, near=catalogue.near(parts)))
    shared = catalogue.shared(plans)
    assignments = catalogue.assignments(plans, shared, joined.member)
    told = sum(len(name) + len(data) + OVERHEAD for name, data in joined.members)
    return Led(shared, assignments, told + sum(map(len, assignments.values())))


def warn_of_size(group: str, led: Led) -> None:
    """Says in time that a group may become too large."""
    if led.size > WORTH_A_WARNING * USUAL_LIMIT:
        log.warning(
            "the plan of group %s has %d bytes with its %d members; brokers take %d by default (max.message.bytes of "
            "the topic __consumer_offsets). Raise that, or run fewer members, before there are more",
            *(group, led.size, len(led.assignments), USUAL_LIMIT),
        )


def too_large(group: str, led: Led | None) -> Fatal:
    """When Kafka does not take the plan. Only the leader knows how large it is."""
    size = "the group's plan"
    if led is not None:
        size += f" of {led.size:,} bytes for {len(led.assignments)} members"
    return Fatal(
        f"Kafka did not take {size}: it is one record of the topic __consumer_offsets, for which brokers take "
        f"{USUAL_LIMIT:,} bytes by default. Raise max.message.bytes of that topic (or message.max.bytes of the "
        f"brokers), or run fewer members of {group!r}. If it is no larger than that, the brokers' log says why"
    )
