"""Where copies of tasks stand, who takes over from a dead owner, and which racks tasks run in."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.assignment.test_assignment import owners, versions
from tests.support.group_model import Group, Process
from tidemill.engine.assignment.assignment import Policy
from tidemill.engine.ids import TaskId


def test_a_copy_that_has_caught_up_takes_over_from_a_dead_owner() -> None:
    group = Group(Policy(standbys=1))
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
@settings(max_examples=100, deadline=None)
def test_copies_stand_apart(count: int, copies: int, nodes: int, racks: int) -> None:
    group = Group(Policy(standbys=copies))
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
    group = Group(Policy(standbys=1))
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
    # A copy must make way where its task comes to its place; no other moves between those who were there before.
    assert all(task in group.processes[before[task]].tasks for task in moved)


def test_tasks_run_near_their_partitions_when_asked() -> None:
    near = {TaskId(0, n): frozenset({f"r{n % 3}"}) for n in range(9)}
    group = Group(Policy(near=near))
    knows = versions(9)
    for number in range(3):
        group.start(knows, rack=f"r{number}")
    group.rebalance()
    group.settle(5)
    for process in group.processes.values():
        assert {f"r{task.partition % 3}" for task in process.tasks} == {process.rack}
        assert len(process.tasks) == 3
