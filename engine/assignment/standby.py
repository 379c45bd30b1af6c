"""Where copies of tasks stand: on other machines than the task itself, in other racks, where they are already.

Pure. A copy on the same machine or in the same rack is taken only when there is no better place, since it would be
lost with the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..ids import TaskId

__all__ = ["Seat", "place_standbys"]


@dataclass(frozen=True)
class Seat:
    """A member as a place for copies: its machine, its rack, the copies it keeps and the tasks it has any state of."""

    node: str
    rack: str
    standby: frozenset[TaskId]
    state: frozenset[TaskId]


def place_standbys(
    seats: Sequence[Seat],
    mains: Mapping[TaskId, int],
    able: Mapping[TaskId, Sequence[int]],
    heirs: Mapping[TaskId, int],
    copies: int,
) -> dict[TaskId, list[int]]:
    """For each task of `mains` (task to member, -1 for nobody), the members that keep a copy.

    `heirs` are members that a task is about to move to: they keep a copy whatever the number of copies asked for.
    """
    chosen: dict[TaskId, list[int]] = {task: [heirs[task]] if task in heirs else [] for task in mains}
    loads = [0] * len(seats)
    for task in heirs:
        loads[heirs[task]] += 1
    wanted = sum(min(copies, max(0, len(able[task]) - 1)) for task in mains)
    fair = -(-wanted // max(1, len(seats)))
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
                shared = {m: _shared(seats, m, taken) for m in free}
                least = min(shared.values())
                free = [m for m in free if shared[m] == least]
                if keep:
                    free = [m for m in free if task in seats[m].standby and loads[m] < fair]
                if not free:
                    continue
                best = min(free, key=lambda m: (loads[m], task not in seats[m].state, m))
                held.append(best)
                loads[best] += 1
    return {task: held for task, held in chosen.items() if held}


def _shared(seats: Sequence[Seat], member: int, others: Sequence[int]) -> tuple[int, int]:
    """What a member shares with others: (machines, racks). Less is better; machines weigh more."""
    seat = seats[member]
    return (
        sum(1 for o in others if seat.node and seats[o].node == seat.node),
        sum(1 for o in others if seat.rack and seats[o].rack == seat.rack),
    )
