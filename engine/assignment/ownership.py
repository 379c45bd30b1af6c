"""Ownership of tasks by one process: a value with few, named transitions.

Pure: no thread, no clock, no Kafka. Only `assigned` adds tasks, when a generation assigns them. Only `release` (after
the final commit) and `lose` remove them. An epoch is a period of uninterrupted membership: work that was started in one
epoch is never committed in another. Each epoch has its own process id, so that fencing an old one cannot affect the new
one.

    assigned by a generation -> opening -> opened(...) -> owned and open
                 any of these -- release(...) -> not owned     any -- lose() -> the next epoch, nothing owned
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..ids import TaskId, incarnation
from .assignment import MemberAssignment

__all__ = ["Ownership"]


class Ownership:
    """The tasks that one process owns, and their state as reported to the group."""

    def __init__(self, process: str) -> None:
        self._base = process
        self.epoch = 1
        self.generation = -1
        """The generation of the newest plan; -1 before the first of an epoch."""
        self.plan = MemberAssignment()
        self.opening: dict[TaskId, tuple[str, ...]] = {}
        """Owned tasks that are not open yet, and the processes to fence first."""
        self._owned: set[TaskId] = set()
        self._released: set[TaskId] = set()
        """Tasks released since the last report: a plan made from that report may still assign them."""

    @property
    def process(self) -> str:
        """The process id of this epoch."""
        return incarnation(self._base, self.epoch)

    @property
    def owned(self) -> frozenset[TaskId]:
        return frozenset(self._owned)

    @property
    def surplus(self) -> frozenset[TaskId]:
        """Owned tasks that the plan no longer assigns: to be committed and released."""
        return frozenset(self._owned - self.plan.active)

    def assigned(self, generation: int, plan: MemberAssignment) -> MemberAssignment:
        """Add the tasks that a generation assigns, remove none, and return this process's plan."""
        me = self.process
        given = plan.active - self._released
        for task in sorted(given - self._owned):
            owner = plan.owners.get(task, me)
            # A static member that restarted gets the plan of its earlier process, which has to be fenced too.
            former = (owner,) if owner != me else ()
            self.opening[task] = tuple(dict.fromkeys((*former, *plan.fence.get(task, ()))))
        self._owned |= given
        fence = {task: chain for task, chain in self.opening.items() if chain and task in given}
        self.generation = generation
        self.plan = replace(plan, active=given, fence=fence, owners={**plan.owners, **dict.fromkeys(given, me)})
        return self.plan

    def described(self) -> None:
        """Note that the owned tasks are being reported: the next plan is made from this report."""
        self._released.clear()

    def opened(self, tasks: Iterable[TaskId]) -> None:
        """Mark tasks as open: their former owners are fenced, so no later owner has to fence them."""
        for task in tasks:
            self.opening.pop(task, None)

    def release(self, tasks: Iterable[TaskId]) -> frozenset[TaskId]:
        """Remove tasks that are committed and closed; return those of them that were owned."""
        gone = frozenset(tasks) & self._owned
        self._owned -= gone
        self._released |= gone
        for task in gone:
            self.opening.pop(task, None)
        return gone

    def lose(self) -> int:
        """Drop all tasks, since membership is lost, and return the epoch that ended."""
        ended = self.epoch
        self.epoch += 1
        self.generation = -1
        self.plan = MemberAssignment()
        self.opening.clear()
        self._owned.clear()
        self._released.clear()
        return ended
