"""An in-memory consumer group that drives the assignor and the ownership rules through any history.

It models Kafka's group coordinator (generations, members that are removed, plans that do not reach every member) and
what a process does with its plans (commit, release, open), one step at a time. Dead processes leave transactions
open. Each `rebalance` checks the invariants of a generation.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tidemill.engine.assignment.assignment import (
    FORGOTTEN,
    AssignmentPolicy,
    MemberAssignment,
    MemberState,
    SharedState,
    SubTopologyVersion,
    assign,
    coarse,
)
from tidemill.engine.assignment.ownership import Ownership
from tidemill.engine.ids import TaskId

FAR_BEHIND = 1_000_000


@dataclass
class Process:
    """A process and its local state; `member` is its id in the group, "" while it is not a member."""

    name: str
    member: str
    knows: dict[int, SubTopologyVersion]
    node: str = ""
    rack: str = ""
    own: Ownership = field(default_factory=lambda: Ownership("0" * 32))
    memory: SharedState = field(default_factory=SharedState)
    copies: dict[TaskId, int] = field(default_factory=dict)
    """Lag of each local copy."""
    running: set[TaskId] = field(default_factory=set)
    """Tasks that are open and may have written something."""

    @property
    def tasks(self) -> frozenset[TaskId]:
        return self.own.owned


class Group:
    """The group, and the processes that have died."""

    def __init__(self, policy: AssignmentPolicy, seed: int = 0) -> None:
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

    # Events that happen to processes

    def start(
        self, knows: Mapping[int, SubTopologyVersion], node: str = "", rack: str = "", copies: Iterable[TaskId] = ()
    ) -> Process:
        self._names += 1
        name = f"{self._names:032x}"
        process = Process(name, f"member-{self._random.getrandbits(64):016x}", dict(knows), node, rack)
        process.own = Ownership(name)
        process.copies = dict.fromkeys(copies, 0)
        self.processes[name] = process
        return process

    def kill(self, process: Process) -> None:
        """Kill a process, which leaves a transaction open on every task that it had begun to run."""
        self.left_open(process)
        del self.processes[process.name]

    def leave(self, process: Process) -> None:
        """Commit all tasks of a process, and let it leave the group."""
        del self.processes[process.name]

    def throw_out(self, process: Process) -> None:
        """Remove a live process from the group: it notices, and rejoins with a new epoch."""
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

    # Actions of processes

    def release_all(self) -> None:
        """Let every process commit and release the tasks that are no longer in its plan."""
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
        """Fence, open and start the tasks. All open transactions of dead processes on them must be fenced."""
        for task, chain in sorted(process.own.opening.items()):
            if task not in process.own.plan.active:
                continue
            left = set().union(*(self.open.pop(what, set()) for what in self.concerned(process, task)))
            assert FORGOTTEN in chain or left <= set(chain), f"{task}: {left} left open transactions, fenced {chain}"
            process.own.opened([task])
            process.running.add(task)
            process.copies[task] = 0

    def warm_all(self) -> None:
        """Keep copies of standby tasks only, and let them catch up."""
        for process in self.processes.values():
            kept = process.own.plan.standby | process.own.owned
            process.copies = dict.fromkeys(kept, 0)

    # A rebalance

    def member(self, process: Process) -> MemberState:
        own = process.own
        mine = process.own.owned
        own.described()
        return MemberState(
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

    def rebalance(self, unreached: Iterable[Process] = ()) -> dict[str, MemberAssignment]:
        """Run one rebalance, whose plan does not reach the processes in `unreached`."""
        self.generation += 1
        members = [self.member(process) for process in self.processes.values()]
        plans = assign(members, self.generation, self.policy)
        self._random.shuffle(members)
        assert assign(members, self.generation, self.policy) == plans, "the assignment depends on the order of members"
        self.check(members, plans)
        lost = {process.name for process in unreached}
        for process in self.processes.values():
            if process.name not in lost:
                plan = plans[process.member]
                process.own.assigned(self.generation, plan)
                process.memory = plan.memory
        return plans

    def check(self, members: list[MemberState], plans: Mapping[str, MemberAssignment]) -> None:
        """Check the invariants of a generation."""
        assert set(plans) == {member.id for member in members}
        living = {member.process for member in members}
        claims: dict[TaskId, list[MemberState]] = {}
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
                    f"{task} is assigned to {name} while {rivals} claim it"
                )
            assert not plan.active & plan.standby, "a task is on the same member as its own standby"
            assert plan.warming <= plan.standby
            for chain in plan.fence.values():
                assert not living & set(chain), "a live process would be fenced"
        for member in members:
            for task in plans[member.id].active:
                version = member.knows.get(task.subtopology)
                assert version is not None
                assert task.partition < version.partitions
        self.check_partitions(members, plans)
        self.check_warming(members, plans)
        running = next((plan.memory.running for plan in plans.values()), {})
        tasks = {t for t in self.tasks() if any(self._runs(p, t, running) for p in self.processes.values())}
        orphans = next((plan.orphans for plan in plans.values()), frozenset())
        waiting = {t for t in tasks if t in claims}
        assert tasks <= given.keys() | waiting | orphans, "a task is not assigned"

    @staticmethod
    def check_partitions(members: list[MemberState], plans: Mapping[str, MemberAssignment]) -> None:
        """Check that each partition that is read or written exclusively belongs to one task."""
        holders: dict[tuple[str, int], TaskId] = {}
        for member in members:
            for task in sorted(plans[member.id].active | member.owned):
                version = member.knows.get(task.subtopology)
                for name in version.holds if version is not None else ():
                    other = holders.setdefault((name, task.partition), task)
                    assert other == task, f"partition {task.partition} of {name} is held by {task} and by {other}"

    def check_warming(self, members: list[MemberState], plans: Mapping[str, MemberAssignment]) -> None:
        """Check that no member warms up more than the limit, by the sizes that the members reported or remembered.

        A task of unknown size may be of any size, so it has to warm up alone.
        """
        sizes = dict(
            max((m.memory for m in members), key=lambda memory: memory.generation, default=SharedState()).sizes
        )
        for member in members:
            sizes |= {task: coarse(size) for task, size in member.sizes.items()}
        for name, plan in plans.items():
            if len(plan.warming) > 1:
                unknown = sorted(plan.warming - sizes.keys())
                assert not unknown, f"{name} warms up {unknown} of unknown size with {sorted(plan.warming)}"
                total, limit = sum(sizes[task] for task in plan.warming), self.policy.warming_bytes
                assert total <= limit, f"{name} warms up {sorted(plan.warming)}: {total} bytes, the limit is {limit}"

    def tasks(self) -> set[TaskId]:
        """Return all tasks that some member can run."""
        return {
            TaskId(subtopology, number)
            for process in self.processes.values()
            for subtopology, version in process.knows.items()
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
        """Rebalance without faults until nothing changes, and return the number of steps; fail after `most`."""
        for step in range(most + 1):
            before = self.picture()
            self.release_all()
            self.open_all()
            self.warm_all()
            self.rebalance()
            if step and self.picture() == before:
                return step
        raise AssertionError(f"tasks still move after {most} steps without faults")

    def picture(self) -> dict[str, tuple[object, ...]]:
        return {
            name: (p.own.owned, p.own.plan.active, p.own.plan.standby, p.own.plan.warming, p.own.plan.promised)
            for name, p in self.processes.items()
        }
