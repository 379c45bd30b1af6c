"""What one process owns, by the rules of the group: a value that changes in few, named ways.

Pure: no thread, no clock, no Kafka. Ownership grows when a generation gives tasks, and shrinks by `release` (after the
final commit) or `lose` alone. An epoch is a time of unbroken membership: work begun in one is never committed in
another, and each has its own process id, so that whoever fences an old one cannot hit the new.

    given by a generation -> opening -> opened(...) -> owned and opened
              any of these -- release(...) -> gone          any -- lose() -> the next epoch, nothing owned
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..ids import TaskId, incarnation
from .assignment import Plan

__all__ = ["Ownership"]


class Ownership:
    """The tasks of one process and what it must tell the group of them."""

    def __init__(self, process: str) -> None:
        self._base = process
        self.epoch = 1
        self.generation = -1
        """The generation in which the newest plan was given; -1 before the first of an epoch."""
        self.plan = Plan()
        self.opening: dict[TaskId, tuple[str, ...]] = {}
        """Owned tasks that are not opened yet, and the processes to fence before."""
        self._owned: set[TaskId] = set()
        self._released: set[TaskId] = set()
        """Released since the group was last told what is owned: a plan made from that may still give them."""

    @property
    def process(self) -> str:
        """The process id of this epoch."""
        return incarnation(self._base, self.epoch)

    @property
    def owned(self) -> frozenset[TaskId]:
        return frozenset(self._owned)

    @property
    def surplus(self) -> frozenset[TaskId]:
        """Owned tasks that the plan no longer gives: to be committed and released."""
        return frozenset(self._owned - self.plan.active)

    def assigned(self, generation: int, plan: Plan) -> Plan:
        """A generation gives `plan.active`; nothing is taken away by it. Returns the plan as it is for this process."""
        me = self.process
        given = plan.active - self._released
        for task in sorted(given - self._owned):
            owner = plan.owners.get(task, me)
            # A static member that restarted gets the plan of its former self: that one is to be fenced too.
            former = (owner,) if owner != me else ()
            self.opening[task] = tuple(dict.fromkeys((*former, *plan.fence.get(task, ()))))
        self._owned |= given
        fence = {task: chain for task, chain in self.opening.items() if chain and task in given}
        self.generation = generation
        self.plan = replace(plan, active=given, fence=fence, owners={**plan.owners, **dict.fromkeys(given, me)})
        return self.plan

    def described(self) -> None:
        """The group is being told what is owned now; the next plan is made from that."""
        self._released.clear()

    def opened(self, tasks: Iterable[TaskId]) -> None:
        """These tasks' former owners are fenced and their state is open: nobody need fence them again."""
        for task in tasks:
            self.opening.pop(task, None)

    def release(self, tasks: Iterable[TaskId]) -> frozenset[TaskId]:
        """These tasks are committed and closed. Returns those of them that were owned."""
        gone = frozenset(tasks) & self._owned
        self._owned -= gone
        self._released |= gone
        for task in gone:
            self.opening.pop(task, None)
        return gone

    def lose(self) -> int:
        """Membership is lost and all with it. Returns the epoch that ended."""
        ended = self.epoch
        self.epoch += 1
        self.generation = -1
        self.plan = Plan()
        self.opening.clear()
        self._owned.clear()
        self._released.clear()
        return ended
