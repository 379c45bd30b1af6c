"""A group of processes in memory, to drive the assignor and the ownership rules through any history.

It does what Kafka's group coordinator does (generations, members that are thrown out, plans that do not reach everyone)
and what a process does with its plans (commit, release, open), one step at a time. Dead processes leave transactions
open. `rebalance` checks, each time, what must hold in every generation.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tidemill.engine.assignment.assignment import FORGOTTEN, Member, Memory, Plan, Policy, Version, assign
from tidemill.engine.assignment.ownership import Ownership
from tidemill.engine.ids import TaskId

FAR_BEHIND = 1_000_000


@dataclass
class Process:
    """A process and what it knows; `member` is its id in the group, "" outside of it."""

    name: str
    member: str
    knows: dict[int, Version]
    node: str = ""
    rack: str = ""
    own: Ownership = field(default_factory=lambda: Ownership("0" * 32))
    memory: Memory = field(default_factory=Memory)
    copies: dict[TaskId, int] = field(default_factory=dict)
    """Lag of each local copy."""
    running: set[TaskId] = field(default_factory=set)
    """Tasks that are open and may have written something."""

    @property
    def tasks(self) -> frozenset[TaskId]:
        return self.own.owned


class Group:
    """The group, and the processes that have died."""

    def __init__(self, policy: Policy, seed: int = 0) -> None:
        self.policy = policy
        self.processes: dict[str, Process] = {}
        self.generation = 0
        self.open: dict[tuple[object, int], set[str]] = {}
        """Transactions that dead incarnations left open, by what they concern: tasks and what these hold."""
        self.weights: dict[TaskId, int] = {}
        self.sizes: dict[TaskId, int] = {}
        self.transfers = 0
        self._random = random.Random(seed)
        self._names = 0

    # What happens to processes

    def start(
        self, knows: Mapping[int, Version], node: str = "", rack: str = "", copies: Iterable[TaskId] = ()
    ) -> Process:
        self._names += 1
        name = f"{self._names:032x}"
        process = Process(name, f"member-{self._random.getrandbits(64):016x}", dict(knows), node, rack)
        process.own = Ownership(name)
        process.copies = dict.fromkeys(copies, 0)
        self.processes[name] = process
        return process

    def kill(self, process: Process) -> None:
        """It dies with a transaction open on every task it had begun to run."""
        self.left_open(process)
        del self.processes[process.name]

    def leave(self, process: Process) -> None:
        """It commits and goes."""
        del self.processes[process.name]

    def throw_out(self, process: Process) -> None:
        """The group takes it for dead; it lives, finds out and comes back as another incarnation."""
        self.left_open(process)
        process.own.lose()
        process.running.clear()
        process.member = f"member-{self._random.getrandbits(64):016x}"

    def left_open(self, process: Process) -> None:
        for task in process.running:
            for what in self.concerned(process, task):
                self.open.setdefault(what, set()).add(process.own.process)

    @staticmethod
    def concerned(process: Process, task: TaskId) -> list[tuple[object, int]]:
        version = process.knows.get(task.subtopology)
        return [task, *((name, task.partition) for name in sorted(version.holds if version else ()))]

    # What processes do

    def release_all(self) -> None:
        """Everybody commits and releases what its plan no longer gives."""
        for process in self.processes.values():
            self.release(process)

    def release(self, process: Process) -> None:
        gone = process.own.release(process.own.surplus)
        self.transfers += len(gone)
        process.running -= gone
        for task in gone:
            process.copies[task] = 0

    def open_all(self) -> None:
        for process in self.processes.values():
            self.finish_opening(process)

    def finish_opening(self, process: Process) -> None:
        """Fences, opens, begins to run. Whatever the dead left open on these tasks must be fenced by this."""
        for task, chain in sorted(process.own.opening.items()):
            if task not in process.own.plan.active:
                continue
            left = set().union(*(self.open.pop(what, set()) for what in self.concerned(process, task)))
            assert FORGOTTEN in chain or left <= set(chain), f"{task}: {left} left something open, only {chain} fenced"
            process.own.opened([task])
            process.running.add(task)
            process.copies[task] = 0

    def warm_all(self) -> None:
        """Copies are kept of standby tasks alone, and catch up."""
        for process in self.processes.values():
            kept = process.own.plan.standby | process.own.owned
            process.copies = dict.fromkeys(kept, 0)

    # A rebalance

    def member(self, process: Process) -> Member:
        own = process.own
        mine = process.own.owned
        own.described()
        return Member(
            id=process.member,
            process=own.process,
            node=process.node,
            rack=process.rack,
            generation=own.generation,
            owned=mine,
            opening=dict(own.opening),
            standby=own.plan.standby,
            lags=dict(process.copies),
            promised=own.plan.promised,
            warming=own.plan.warming,
            knows=process.knows,
            weights={t: self.weights[t] for t in mine if t in self.weights},
            sizes={t: self.sizes.get(t, 0) for t in mine},
            memory=process.memory,
        )

    def rebalance(self, unreached: Iterable[Process] = ()) -> dict[str, Plan]:
        """One generation; its plan does not reach the processes in `unreached`."""
        self.generation += 1
        members = [self.member(process) for process in self.processes.values()]
        plans = assign(members, self.generation, self.policy)
        self._random.shuffle(members)
        assert assign(members, self.generation, self.policy) == plans, "the order of members matters"
        self.check(members, plans)
        lost = {process.name for process in unreached}
        for process in self.processes.values():
            if process.name not in lost:
                plan = plans[process.member]
                process.own.assigned(self.generation, plan)
                process.memory = plan.memory
        return plans

    def check(self, members: list[Member], plans: Mapping[str, Plan]) -> None:
        """What holds in every generation."""
        assert set(plans) == {member.id for member in members}
        living = {member.process for member in members}
        claims: dict[TaskId, list[Member]] = {}
        for member in members:
            for task in member.owned:
                claims.setdefault(task, []).append(member)
        given: dict[TaskId, str] = {}
        for name, plan in plans.items():
            for task in plan.active:
                assert task not in given, f"{task} has two owners"
                given[task] = name
                rivals = [m.id for m in claims.get(task, []) if m.id != name]
                newest = max((m.generation for m in claims.get(task, [])), default=-1)
                assert not rivals or any(m.id == name and m.generation == newest for m in claims[task]), (
                    f"{task} is given to {name} while {rivals} claim it"
                )
            assert not plan.active & plan.standby, "a task beside its own copy"
            assert plan.warming <= plan.standby
            for chain in plan.fence.values():
                assert not living & set(chain), "a living process would be fenced"
        for member in members:
            for task in plans[member.id].active:
                version = member.knows.get(task.subtopology)
                assert version is not None
                assert task.partition < version.partitions
        self.check_partitions(members, plans)
        running = next((plan.memory.running for plan in plans.values()), {})
        tasks = {t for t in self.tasks() if any(self._runs(p, t, running) for p in self.processes.values())}
        orphans = next((plan.orphans for plan in plans.values()), frozenset())
        waiting = {t for t in tasks if t in claims}
        assert tasks <= given.keys() | waiting | orphans, "a task is forgotten"

    @staticmethod
    def check_partitions(members: list[Member], plans: Mapping[str, Plan]) -> None:
        """What is held (a partition that is read, a changelog that is written) is held by one task."""
        holders: dict[tuple[str, int], TaskId] = {}
        for member in members:
            for task in sorted(plans[member.id].active | member.owned):
                version = member.knows.get(task.subtopology)
                for name in version.holds if version is not None else ():
                    other = holders.setdefault((name, task.partition), task)
                    assert other == task, f"partition {task.partition} of {name} is held by {task} and by {other}"

    def tasks(self) -> set[TaskId]:
        """All tasks that somebody can run."""
        return {
            TaskId(part, number)
            for process in self.processes.values()
            for part, version in process.knows.items()
            for number in range(version.partitions)
        }

    @staticmethod
    def _runs(process: Process, task: TaskId, running: Mapping[int, str]) -> bool:
        version = process.knows.get(task.subtopology)
        return (
            version is not None
            and version.hash == running.get(task.subtopology)
            and task.partition < version.partitions
        )

    def settle(self, most: int = 4) -> int:
        """Quiet steps until nothing changes; fails when that takes more than `most`. Returns how many it took."""
        for step in range(most + 1):
            before = self.picture()
            self.release_all()
            self.open_all()
            self.warm_all()
            self.rebalance()
            if step and self.picture() == before:
                return step
        raise AssertionError(f"still moving after {most} quiet steps")

    def picture(self) -> dict[str, tuple[object, ...]]:
        return {
            name: (p.own.owned, p.own.plan.active, p.own.plan.standby, p.own.plan.warming, p.own.plan.promised)
            for name, p in self.processes.items()
        }
