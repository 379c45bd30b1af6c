"""The sub-topologies of a plan as the group hears of them."""

from __future__ import annotations

from collections.abc import Mapping

from .kafka.userdata import Part
from .plan import Plan, SubTopology

__all__ = ["parts_of"]


def parts_of(plan: Plan, racks: Mapping[str, tuple[str, ...]] | None = None) -> tuple[Part, ...]:
    """Every sub-topology with what its tasks read.

    `racks` are those of the partitions' leaders by topic, "" for unknown ones, where tasks are to run near them.
    """
    return tuple(
        Part(part.id, part.name, part.fingerprint, part.topic_partitions, bool(part.stores), _near(part, racks or {}))
        for part in plan.parts
    )


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
