"""Placement of standbys: on other machines and racks, preferably where copies exist.

Pure. A copy is placed on the same machine or in the same rack as another only if there is no better place, since both
would be lost together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ids import TaskId

__all__ = ["StandbyCandidate", "place_standbys"]


@dataclass(frozen=True)
class StandbyCandidate:
    """A candidate for standbys: machine, rack, the copies it keeps, and tasks it has state of."""

    node: str
    rack: str
    standby: frozenset[TaskId]
    state: frozenset[TaskId]


def place_standbys(
    candidates: Sequence[StandbyCandidate],
    mains: Mapping[TaskId, int],
    able: Mapping[TaskId, Sequence[int]],
    heirs: Mapping[TaskId, int],
    copies: int,
) -> dict[TaskId, list[int]]:
    """Return the members that keep a copy of each task in `mains`.

    `mains` maps tasks to members, -1 for none. `heirs` are the members that tasks are about to move to: they keep a
    copy regardless of the number of copies.
    """
    chosen: dict[TaskId, list[int]] = {task: [heirs[task]] if task in heirs else [] for task in mains}
    loads = [0] * len(candidates)
    for task in heirs:
        loads[heirs[task]] += 1
    wanted = sum(min(copies, max(0, len(able[task]) - 1)) for task in mains)
    fair = -(-wanted // max(1, len(candidates)))
    for _ in range(copies):
        for keep in (True, False):
            for task in sorted(mains):
                held = chosen[task]
                if len([m for m in held if m != heirs.get(task)]) > _:
                    continue
                free = [m for m in able[task] if m != mains[task] and m not in held]
                taken = [m for m in (mains[task], *held) if m >= 0]
                if not free:
                    continue
                shared = {m: _shared(candidates, m, taken) for m in free}
                least = min(shared.values())
                free = [m for m in free if shared[m] == least]
                if keep:
                    free = [m for m in free if task in candidates[m].standby and loads[m] < fair]
                if not free:
                    continue
                best = min(free, key=lambda m: (loads[m], task not in candidates[m].state, m))
                held.append(best)
                loads[best] += 1
    return {task: held for task, held in chosen.items() if held}


def _shared(candidates: Sequence[StandbyCandidate], member: int, others: Sequence[int]) -> tuple[int, int]:
    """Count the (machines, racks) that a member shares with others; lower is better."""
    candidate = candidates[member]
    return (
        sum(1 for o in others if candidate.node and candidates[o].node == candidate.node),
        sum(1 for o in others if candidate.rack and candidates[o].rack == candidate.rack),
    )
