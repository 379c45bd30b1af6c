"""The sub-topologies of a plan as the group hears of them."""

from __future__ import annotations

from collections.abc import Mapping

from ...assignment import assignment
from ...plan.plan import Plan, SubTopology
from .user_data import Part

__all__ = ["parts_of", "what_waits"]


def parts_of(plan: Plan, racks: Mapping[str, tuple[str, ...]] | None = None) -> tuple[Part, ...]:
    """Every sub-topology with what its tasks read.

    `racks` are those of the partitions' leaders by topic, "" for unknown ones, where tasks are to run near them.
    """
    return tuple(
        Part(
            part.id,
            part.name,
            part.fingerprint,
            part.topic_partitions,
            bool(part.stores),
            frozenset(part.changelogs.values()),
            _near(part, racks or {}),
        )
        for part in plan.parts
    )


def what_waits(assigned: assignment.Plan, plan: Plan) -> str:
    """What this process does not run, and nobody else by its version of the program, for people; "" for nothing."""
    found = [f"{assigned.note}: it waits for a process that has these partitions"] if assigned.note else []
    names = ", ".join(repr(part.name) for part in plan.parts if part.id in assigned.waiting)
    if names:
        found.append(
            f"members with another version of the program run what reads {names}: this version begins when the last of "
            "them has gone"
        )
    return "; ".join(found)


def _near(part: SubTopology, racks: Mapping[str, tuple[str, ...]]) -> dict[int, frozenset[str]]:
    """The racks of the leaders of what each task reads; tasks of which none is known are left out."""
    near = {
        number: frozenset(
            racks[topic][partition]
            for topic, partition in part.task_inputs(number)
            if partition < len(racks.get(topic, ())) and racks[topic][partition]
        )
        for number in range(part.partitions)
    }
    return {number: found for number, found in near.items() if found}
