"""The sub-topologies of a plan in the form that the group uses."""

from __future__ import annotations

from collections.abc import Mapping

from ...assignment import assignment
from ...plan.plan import Plan, SubTopology
from .member_metadata import SubTopologyInfo

__all__ = ["describe_waiting", "subtopology_infos"]


def subtopology_infos(plan: Plan, racks: Mapping[str, tuple[str, ...]] | None = None) -> tuple[SubTopologyInfo, ...]:
    """Return every sub-topology of a plan, with the topics that its tasks read.

    `racks` has the racks of the partitions' leaders by topic ("" if unknown), if tasks should run near them.
    """
    return tuple(
        SubTopologyInfo(
            subtopology.id,
            subtopology.name,
            subtopology.fingerprint,
            subtopology.topic_partitions,
            bool(subtopology.stores),
            frozenset(subtopology.changelogs.values()),
            _near(subtopology, racks or {}),
        )
        for subtopology in plan.subtopologies
    )


def describe_waiting(assigned: assignment.MemberAssignment, plan: Plan) -> str:
    """Describe the tasks and sub-topologies that wait, as far as this process knows; "" if none."""
    found = [f"{assigned.note}: they wait for a process with these partitions"] if assigned.note else []
    names = ", ".join(
        repr(subtopology.name) for subtopology in plan.subtopologies if subtopology.id in assigned.waiting
    )
    if names:
        found.append(
            f"members with another version of the program run the sub-topologies that read {names}: this "
            "version starts when the last of them has left"
        )
    return "; ".join(found)


def _near(subtopology: SubTopology, racks: Mapping[str, tuple[str, ...]]) -> dict[int, frozenset[str]]:
    """Return the racks of the leaders of each task's partitions, for tasks with known leaders."""
    near = {
        number: frozenset(
            racks[topic][partition]
            for topic, partition in subtopology.task_inputs(number)
            if partition < len(racks.get(topic, ())) and racks[topic][partition]
        )
        for number in range(subtopology.partitions)
    }
    return {number: found for number, found in near.items() if found}
