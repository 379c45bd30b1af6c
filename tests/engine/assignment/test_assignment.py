"""Tests of the assignor with random groups and histories: invariants, and convergence without further changes."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tests.support.group_model import Group, Process
from tidemill.engine.assignment.assignment import (
    FORGOTTEN,
    AssignmentPolicy,
    MemberState,
    SharedState,
    SubTopologyVersion,
    assign,
    coarse,
)
from tidemill.engine.ids import TaskId


def versions(*partitions: int, stateful: bool = True) -> dict[int, SubTopologyVersion]:
    return {part: SubTopologyVersion("v1", count, stateful) for part, count in enumerate(partitions)}


shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4)
STEPS = ("start", "kill", "leave", "throw", "rebalance", "cut", "release", "open", "warm", "release one", "open one")
STEPS += ("quiet", "quiet", "start")
histories = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=40)


def play(
    group: Group, knows: dict[int, SubTopologyVersion], history: list[tuple[str, int]], spread: bool = False
) -> None:
    """Run the steps of a history; steps that are impossible at their time are skipped."""
    started = 0
    for step, number in history:
        there = list(group.processes.values())
        one: Process | None = there[number % len(there)] if there else None
        if step == "start" and len(there) < 6:
            started += 1
            node, rack = (f"n{started % 5}", f"r{started % 3}") if spread else ("", "")
            group.start(knows, node, rack)
        elif step == "rebalance":
            group.rebalance()
        elif step == "cut":
            # The plan reaches only some members; these may die before any other member knows of it.
            group.rebalance(unreached=[p for i, p in enumerate(there) if (number >> i) & 1])
        elif step == "quiet":
            # All members carry out their plans, so that histories also cover events after the group has settled.
            group.release_all()
            group.open_all()
            group.warm_all()
            group.rebalance()
        elif step == "release":
            group.release_all()
        elif step == "open":
            group.open_all()
        elif step == "warm":
            group.warm_all()
        elif one is not None:
            match step:
                case "kill":
                    group.kill(one)
                case "leave":
                    group.release(one)
                    group.leave(one)
                case "throw":
                    group.throw_out(one)
                case "release one":
                    group.release(one)
                case "open one":
                    group.finish_opening(one)
                case _:
                    pass


@given(shapes, histories, st.integers(0, 2), st.booleans())
@examples(500)
def test_every_history_keeps_the_invariants_and_settles(
    shape: list[int], history: list[tuple[str, int]], standbys: int, stateful: bool
) -> None:
    group = Group(AssignmentPolicy(standbys=standbys))
    knows = versions(*shape, stateful=stateful)
    play(group, knows, history, spread=True)
    if not group.processes:
        group.start(knows)
    group.rebalance()
    group.settle(5)
    owners = Counter(task for process in group.processes.values() for task in process.tasks)
    assert set(owners) == group.tasks()
    assert set(owners.values()) <= {1}
    assert all(process.running == process.tasks for process in group.processes.values())
    assert not group.open, "a dead process's transaction was never fenced"
    assert_even(group, shape)
    before = group.transfers
    for _ in range(3):
        group.rebalance()
        group.release_all()
    assert group.transfers == before, "tasks move in a group where nothing happens"


def assert_even(group: Group, shape: list[int]) -> None:
    """Tasks of equal weight: no member has two more than another, in total or of any sub-topology."""
    totals = [len(process.tasks) for process in group.processes.values()]
    assert max(totals) - min(totals) <= 1, totals
    for part in range(len(shape)):
        counts = [sum(t.subtopology == part for t in p.tasks) for p in group.processes.values()]
        assert max(counts) - min(counts) <= 1, (part, counts)


@given(shapes, st.integers(1, 6), st.lists(st.integers(1, 500), min_size=36, max_size=36))
@examples(150)
def test_weights_are_even_as_far_as_single_moves_can_make_them(
    shape: list[int], count: int, weights: list[int]
) -> None:
    group = Group(AssignmentPolicy(least_gain=0.1))
    knows = versions(*shape, stateful=False)
    tasks = [TaskId(part, number) for part, many in enumerate(shape) for number in range(many)]
    for _ in range(count):
        group.start(knows)
    group.rebalance()
    group.settle(5)
    group.weights = dict(zip(tasks, weights, strict=False))
    group.rebalance()
    group.settle(5)
    heavy = {task: coarse(group.weights[task]) for task in tasks}
    loads = {name: sum(heavy[t] for t in p.tasks) for name, p in group.processes.items()}
    mean = sum(loads.values()) / len(loads)

    def of_part(process: Process, part: int) -> int:
        return sum(heavy[t] for t in process.tasks if t.subtopology == part)

    for name, a in group.processes.items():
        for task in a.tasks:
            for other, b in group.processes.items():
                whole = loads[name] - loads[other] - heavy[task]
                part = of_part(a, task.subtopology) - of_part(b, task.subtopology) - heavy[task]
                assert name == other or whole + part <= 0.1 * mean + 1e-6, f"{task} should move from {name} to {other}"


@given(shapes, st.integers(1, 6), st.booleans())
@examples(150)
def test_a_join_and_a_leave_move_no_more_tasks_than_necessary(shape: list[int], count: int, stateful: bool) -> None:
    group = Group(AssignmentPolicy())
    knows = versions(*shape, stateful=stateful)
    for _ in range(count):
        group.start(knows)
    group.rebalance()
    group.settle(5)
    before = owners(group)
    fresh = group.start(knows)
    group.rebalance()
    group.settle(5)
    after = owners(group)
    moved = {task for task in before if before[task] != after[task]}
    to_others = {task for task in moved if after[task] != fresh.name}
    assert len(fresh.tasks) <= -(-len(before) // (count + 1))
    # Balancing sub-topologies may take an exchange between the others, at most one per sub-topology.
    assert len(to_others) <= len(shape)
    gone = next(iter(group.processes.values()))
    its = gone.tasks
    group.kill(gone)
    group.rebalance()
    group.settle(5)
    last = owners(group)
    assert len({task for task in last if task not in its and last[task] != after[task]}) <= len(shape)


def owners(group: Group) -> dict[TaskId, str]:
    return {task: process.name for process in group.processes.values() for task in process.tasks}


def test_the_group_keeps_a_task_where_it_is_until_its_copy_elsewhere_has_caught_up() -> None:
    group = Group(AssignmentPolicy())
    knows = versions(2)
    first = group.start(knows)
    group.sizes = {TaskId(0, 0): 1 << 30, TaskId(0, 1): 1 << 30}
    group.rebalance()
    group.settle()
    second = group.start(knows)
    for _ in range(3):
        group.rebalance()
        group.release_all()
        assert len(first.tasks) == 2, "it was taken from its owner although its copy had not caught up"
        assert len(second.own.plan.warming) == 1
    group.warm_all()
    group.rebalance()
    assert first.own.surplus == second.own.plan.promised
    assert second.own.plan.promised <= second.own.plan.standby, "the copy must follow until it takes over"
    group.release_all()
    group.rebalance()
    assert len(first.tasks) == len(second.tasks) == 1


def test_tasks_with_small_state_move_without_a_warm_up() -> None:
    group = Group(AssignmentPolicy())
    knows = versions(2)
    group.start(knows)
    group.rebalance()
    group.open_all()
    second = group.start(knows)
    group.rebalance()
    assert len(second.own.plan.promised) == 1
    group.release_all()
    group.rebalance()
    assert len(second.tasks) == 1, "a task that was promised and released went back to the member that has its state"


def test_a_plan_that_reached_only_dead_members_is_assumed_to_have_run() -> None:
    """A dead member may have run tasks whose assignment to it the survivors do not know."""
    group = Group(AssignmentPolicy())
    knows = versions(2)
    first = group.start(knows)
    group.rebalance()
    group.settle()
    second = group.start(knows)
    group.rebalance()
    group.release_all()
    group.rebalance(unreached=[first])
    assert len(second.tasks) == 1
    group.open_all()
    group.kill(second)
    group.rebalance()
    assert any(FORGOTTEN in chain for chain in first.own.opening.values())
    group.settle()
    assert not group.open


def test_fencing_is_a_chain() -> None:
    """If a member dies before it has opened a task of a killed member, the third owner fences both."""
    group = Group(AssignmentPolicy())
    knows = versions(1)
    first = group.start(knows)
    group.rebalance()
    group.settle()
    second, third = group.start(knows), group.start(knows)
    group.settle()
    group.kill(first)
    group.rebalance()
    heir = next(p for p in (second, third) if p.tasks)
    last = third if heir is second else second
    group.rebalance()  # the next generation keeps what the new owner has to fence
    assert heir.own.plan.fence == {TaskId(0, 0): (first.own.process,)}
    group.kill(heir)
    group.rebalance()
    assert last.own.plan.fence == {TaskId(0, 0): (heir.own.process, first.own.process)}
    group.open_all()
    group.rebalance()
    assert not last.own.plan.fence


def test_tasks_stay_with_the_version_that_runs_them_until_its_last_member_leaves() -> None:
    old, new = {0: SubTopologyVersion("old", 6)}, {0: SubTopologyVersion("new", 6)}
    group = Group(AssignmentPolicy())
    veterans = [group.start(old) for _ in range(3)]
    group.rebalance()
    group.settle()
    for veteran in veterans:
        group.start(new)
        group.rebalance()
        group.settle(5)
        holders = {p.knows[0].hash for p in group.processes.values() if p.tasks}
        assert holders == {"old"}, "two versions of one sub-topology at a time"
        group.release(veteran)
        group.leave(veteran)
        group.rebalance()
    group.settle(5)
    assert {p.knows[0].hash for p in group.processes.values() if p.tasks} == {"new"}
    assert set(owners(group)) == group.tasks()
    group.start(old)  # a rollback in between changes nothing
    group.rebalance()
    group.settle(5)
    assert {p.knows[0].hash for p in group.processes.values() if p.tasks} == {"new"}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=2, max_size=5),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=25),
)
@examples(150)
def test_mixed_versions_and_partition_counts_in_any_history(
    kinds: list[tuple[str, int]], history: list[tuple[str, int]]
) -> None:
    group = Group(AssignmentPolicy())
    for number, (text, count) in enumerate(kinds):
        knows = {0: SubTopologyVersion(text, count), 1: SubTopologyVersion("same", 3)}
        group.start({0: knows[0]} if number % 3 == 2 else knows)
    play(group, {0: SubTopologyVersion("a", 4), 1: SubTopologyVersion("same", 3)}, history)
    if not group.processes:
        return
    group.rebalance()
    group.settle(6)
    running = {
        p.knows[task.subtopology].hash for p in group.processes.values() for task in p.tasks if not task.subtopology
    }
    assert len(running) <= 1


def test_a_member_that_does_not_know_a_partition_does_not_get_its_task() -> None:
    group = Group(AssignmentPolicy())
    group.start({0: SubTopologyVersion("v", 2)})
    group.rebalance()
    group.settle()
    late = group.start({0: SubTopologyVersion("v", 4)})
    group.rebalance()
    group.settle()
    assert {TaskId(0, 2), TaskId(0, 3)} <= late.tasks
    assert set(owners(group)) == {TaskId(0, n) for n in range(4)}


def test_the_newest_claim_wins() -> None:
    def claiming(name: str, generation: int) -> MemberState:
        owned = frozenset({TaskId(0, 0)})
        return MemberState(name, f"{name * 32}.1", generation=generation, owned=owned, knows=versions(1))

    plans = assign([claiming("a", 3), claiming("b", 5)], 6)
    assert plans["b"].active == {TaskId(0, 0)}
    assert not plans["a"].active
    assert plans["a"].pending


def test_an_owner_keeps_its_tasks_even_if_others_have_another_version() -> None:
    """As when no member knows which version ran."""
    tasks = frozenset(TaskId(0, n) for n in range(6))
    memory = SharedState(4, dict.fromkeys(tasks, (f"{'a' * 32}.1",)), {0: "new"})
    old = MemberState(
        "a", f"{'a' * 32}.1", generation=4, owned=tasks, knows={0: SubTopologyVersion("old", 6)}, memory=memory
    )
    others = [MemberState(name, f"{name * 32}.1", knows={0: SubTopologyVersion("new", 6)}) for name in "bc"]
    plans = assign([old, *others], 5)
    assert {name: plan.active | plan.promised | plan.warming for name, plan in plans.items()} == {
        "a": tasks,
        "b": set(),
        "c": set(),
    }


def test_tasks_that_no_member_can_run_are_named() -> None:
    group = Group(AssignmentPolicy())
    one = group.start({0: SubTopologyVersion("a", 2)})
    group.rebalance()
    group.settle()
    group.start({0: SubTopologyVersion("a", 1)})
    group.rebalance()
    group.kill(one)
    plans = group.rebalance()
    assert [plan.orphans for plan in plans.values()] == [{TaskId(0, 1)}]
    assert "0_1" in next(iter(plans.values())).note


def test_a_step_that_no_member_has_any_more_is_named_once_and_dropped() -> None:
    """A step that was removed, or an upgrade that was rolled back."""
    group = Group(AssignmentPolicy())
    one = group.start({0: SubTopologyVersion("a", 1), 1: SubTopologyVersion("b", 1)})
    group.rebalance()
    group.settle()
    group.weights = group.sizes = {TaskId(1, 0): 5}
    group.rebalance()
    other = group.start({0: SubTopologyVersion("a", 1)})
    group.rebalance()
    group.kill(one)
    [plan] = group.rebalance().values()
    assert plan.orphans == {TaskId(1, 0)}, "it is named once"
    [plan] = group.rebalance().values()
    assert not plan.orphans
    assert not plan.note
    memory = plan.memory
    assert {task.subtopology for task in (*memory.owners, *memory.weights, *memory.sizes)} == {0}
    assert set(memory.running) == {0}
    again = group.start({0: SubTopologyVersion("a", 1), 1: SubTopologyVersion("b", 1)})
    group.rebalance()
    assert again.own.opening[TaskId(1, 0)] == (FORGOTTEN,), (
        "the last owner, which is unknown, may have left a transaction open"
    )
    group.settle()
    assert other.tasks | again.tasks == group.tasks()


def test_weights_are_coarse() -> None:
    assert [coarse(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 100)] == [1, 1, 2, 3, 4, 6, 6, 8, 12, 12, 16, 128]
