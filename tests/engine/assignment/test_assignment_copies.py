"""Tests of the placement of standbys, of takeovers from dead owners, and of racks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.engine.assignment.test_assignment import owners, versions
from tests.support.examples import examples
from tests.support.group_model import Group, Process
from tidemill.engine.assignment.assignment import AssignmentPolicy
from tidemill.engine.ids import TaskId


def test_a_copy_that_has_caught_up_takes_over_from_a_dead_owner() -> None:
    group = Group(AssignmentPolicy(standbys=1))
    knows = versions(6)
    for _ in range(4):
        group.start(knows)
    group.rebalance()
    group.settle()
    dead = next(iter(group.processes.values()))
    copies = {task: p.name for p in group.processes.values() for task in p.own.plan.standby if task in dead.tasks}
    assert set(copies) == set(dead.tasks)
    group.kill(dead)
    group.rebalance()
    now = owners(group)
    assert {task: now[task] for task in copies} == copies


@given(st.integers(2, 7), st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
@examples(100)
def test_copies_are_on_different_nodes_and_racks(count: int, copies: int, nodes: int, racks: int) -> None:
    group = Group(AssignmentPolicy(standbys=copies))
    knows = versions(4, 3)
    for number in range(count):
        group.start(knows, f"n{number % nodes}.{number % racks}", f"r{number % racks}")
    group.rebalance()
    group.settle(5)
    where: dict[TaskId, list[Process]] = {}
    for process in group.processes.values():
        for task in process.own.plan.standby:
            where.setdefault(task, []).append(process)
    there = list(group.processes.values())
    for task, name in owners(group).items():
        places = [group.processes[name], *where.get(task, [])]
        assert len(places) == 1 + min(copies, count - 1)
        wanted = min(len(places), len({p.node for p in there}))
        assert len({p.node for p in places}) == wanted, "two of them on one machine without need"
        assert len({p.rack for p in places}) == min(len(places), len({p.rack for p in there}))
    kept = [len(p.own.plan.standby) for p in there]
    if nodes >= count and racks == 1:
        assert max(kept) - min(kept) <= 2, kept


def test_copies_stay_where_they_are_and_newcomers_get_their_share() -> None:
    group = Group(AssignmentPolicy(standbys=1))
    knows = versions(24)
    for number in range(3):
        group.start(knows, f"n{number}")
    group.rebalance()
    group.settle()
    before = {task: p.name for p in group.processes.values() for task in p.own.plan.standby}
    fresh = group.start(knows, "n9")
    group.rebalance()
    group.settle(5)
    after = {task: p.name for p in group.processes.values() for task in p.own.plan.standby}
    counts = [len(p.own.plan.standby) for p in group.processes.values()]
    assert max(counts) - min(counts) <= 2, counts
    moved = {task for task in before if after[task] != before[task] and after[task] != fresh.name}
    # A copy has to move if its task moves to its member; no other copy moves between the previous members.
    assert all(task in group.processes[before[task]].tasks for task in moved)


def test_tasks_run_near_their_partitions_when_asked() -> None:
    near = {TaskId(0, n): frozenset({f"r{n % 3}"}) for n in range(9)}
    group = Group(AssignmentPolicy(near=near))
    knows = versions(9)
    for number in range(3):
        group.start(knows, rack=f"r{number}")
    group.rebalance()
    group.settle(5)
    for process in group.processes.values():
        assert {f"r{task.partition % 3}" for task in process.tasks} == {process.rack}
        assert len(process.tasks) == 3


def test_no_member_warms_up_more_than_its_budget_but_always_one_task() -> None:
    group = Group(AssignmentPolicy(warming_bytes=300))
    knows = versions(8)
    group.policy = AssignmentPolicy(warming_bytes=300, small=10)
    group.sizes = {TaskId(0, n): 100 for n in range(8)}
    group.start(knows)
    group.rebalance()
    group.settle()
    second = group.start(knows)
    group.rebalance()
    assert len(second.own.plan.warming) == 2
    group.policy = AssignmentPolicy(warming_bytes=1, small=10)
    group.rebalance()
    assert len(second.own.plan.warming) == 1
    group.settle(20)
    assert len(second.tasks) == 4


def test_a_task_of_unknown_size_warms_up_alone() -> None:
    """No owner has reported a size yet: the limit holds whatever the sizes are, and the first report ends the wait."""
    group = Group(AssignmentPolicy(warming_bytes=300, small=10))
    knows = versions(8)
    group.sizes = {TaskId(0, n): 100 for n in range(8)}
    first = group.start(knows)
    group.rebalance()
    second = group.start(knows)
    group.throw_out(first)
    first.copies = dict.fromkeys(group.tasks(), 0)
    group.rebalance()
    assert len(second.own.plan.warming) == 1
    group.rebalance()
    assert len(second.own.plan.warming) == 2
    group.settle(20)
    assert len(second.tasks) == 4
