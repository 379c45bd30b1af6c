"""The assignor against random groups and histories: what must hold always, and what must hold once things are quiet."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.group_model import Group, Process
from tidemill.engine.assignment.assignment import FORGOTTEN, Member, Memory, Policy, Version, assign, coarse
from tidemill.engine.ids import TaskId


def versions(*partitions: int, stateful: bool = True) -> dict[int, Version]:
    return {part: Version("v1", count, stateful) for part, count in enumerate(partitions)}


shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4)
STEPS = ("start", "kill", "leave", "throw", "rebalance", "cut", "release", "open", "warm", "release one", "open one")
STEPS += ("quiet", "quiet", "start")
histories = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=40)


def play(group: Group, knows: dict[int, Version], history: list[tuple[str, int]], spread: bool = False) -> None:
    """Steps of a history; those that make no sense at their time are skipped."""
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
            # The plan reaches some only; those that it reaches may die before anybody else hears of it.
            group.rebalance(unreached=[p for i, p in enumerate(there) if (number >> i) & 1])
        elif step == "quiet":
            # Everybody does all it has to, so that a history comes to what lies behind a settled group.
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
@settings(max_examples=500, deadline=None)
def test_every_history_keeps_the_rules_and_comes_to_rest(
    shape: list[int], history: list[tuple[str, int]], standbys: int, stateful: bool
) -> None:
    group = Group(Policy(standbys=standbys))
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
    """Tasks of equal weight: nobody has two more than another, in the whole or of any sub-topology."""
    totals = [len(process.tasks) for process in group.processes.values()]
    assert max(totals) - min(totals) <= 1, totals
    for part in range(len(shape)):
        counts = [sum(t.subtopology == part for t in p.tasks) for p in group.processes.values()]
        assert max(counts) - min(counts) <= 1, (part, counts)


@given(shapes, st.integers(1, 6), st.lists(st.integers(1, 500), min_size=36, max_size=36))
@settings(max_examples=150, deadline=None)
def test_weights_are_even_as_far_as_single_moves_can_make_them(
    shape: list[int], count: int, weights: list[int]
) -> None:
    group = Group(Policy(least_gain=0.1))
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
@settings(max_examples=150, deadline=None)
def test_a_join_and_a_leave_move_no_more_than_they_must(shape: list[int], count: int, stateful: bool) -> None:
    group = Group(Policy())
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
    # Evening out the parts may take an exchange between the others, never more than one a sub-topology.
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
    group = Group(Policy())
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


def test_small_state_moves_without_warming_up() -> None:
    group = Group(Policy())
    knows = versions(2)
    group.start(knows)
    group.rebalance()
    group.open_all()
    second = group.start(knows)
    group.rebalance()
    assert len(second.own.plan.promised) == 1
    group.release_all()
    group.rebalance()
    assert len(second.tasks) == 1, "what was promised and released went back to who has its state"


def test_a_plan_that_reached_only_members_who_died_is_suspected() -> None:
    """Somebody may have run tasks of which the survivors never heard that they were given to it."""
    group = Group(Policy())
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
    """A task handed by a killed member to one that dies before it has opened it: the third fences both."""
    group = Group(Policy())
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
    group.rebalance()  # what the heir has to fence is not forgotten by another generation
    assert heir.own.plan.fence == {TaskId(0, 0): (first.own.process,)}
    group.kill(heir)
    group.rebalance()
    assert last.own.plan.fence == {TaskId(0, 0): (heir.own.process, first.own.process)}
    group.open_all()
    group.rebalance()
    assert not last.own.plan.fence


def test_no_member_warms_up_more_than_its_budget_but_always_one_task() -> None:
    group = Group(Policy(warming_bytes=300))
    knows = versions(8)
    group.policy = Policy(warming_bytes=300, small=10)
    group.sizes = {TaskId(0, n): 100 for n in range(8)}
    group.start(knows)
    group.rebalance()
    group.settle()
    second = group.start(knows)
    group.rebalance()
    assert len(second.own.plan.warming) == 2
    group.policy = Policy(warming_bytes=1, small=10)
    group.rebalance()
    assert len(second.own.plan.warming) == 1
    group.settle(20)
    assert len(second.tasks) == 4


def test_tasks_stay_with_the_version_that_runs_them_until_its_last_member_leaves() -> None:
    old, new = {0: Version("old", 6)}, {0: Version("new", 6)}
    group = Group(Policy())
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
    group.start(old)  # a step back in the middle of it changes nothing
    group.rebalance()
    group.settle(5)
    assert {p.knows[0].hash for p in group.processes.values() if p.tasks} == {"new"}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=2, max_size=5),
    st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=25),
)
@settings(max_examples=150, deadline=None)
def test_mixed_versions_and_partition_counts_in_any_history(
    kinds: list[tuple[str, int]], history: list[tuple[str, int]]
) -> None:
    group = Group(Policy())
    for number, (text, count) in enumerate(kinds):
        knows = {0: Version(text, count), 1: Version("same", 3)}
        group.start({0: knows[0]} if number % 3 == 2 else knows)
    play(group, {0: Version("a", 4), 1: Version("same", 3)}, history)
    if not group.processes:
        return
    group.rebalance()
    group.settle(6)
    running = {
        p.knows[task.subtopology].hash for p in group.processes.values() for task in p.tasks if not task.subtopology
    }
    assert len(running) <= 1


def test_a_member_without_a_partition_is_not_given_its_task() -> None:
    group = Group(Policy())
    group.start({0: Version("v", 2)})
    group.rebalance()
    group.settle()
    late = group.start({0: Version("v", 4)})
    group.rebalance()
    group.settle()
    assert {TaskId(0, 2), TaskId(0, 3)} <= late.tasks
    assert set(owners(group)) == {TaskId(0, n) for n in range(4)}


def test_the_newest_claim_wins() -> None:
    def claiming(name: str, generation: int) -> Member:
        owned = frozenset({TaskId(0, 0)})
        return Member(name, f"{name * 32}.1", generation=generation, owned=owned, knows=versions(1))

    plans = assign([claiming("a", 3), claiming("b", 5)], 6)
    assert plans["b"].active == {TaskId(0, 0)}
    assert not plans["a"].active
    assert plans["a"].pending


def test_an_owner_keeps_what_it_runs_though_others_know_another_version() -> None:
    """As when the group has forgotten which version ran."""
    tasks = frozenset(TaskId(0, n) for n in range(6))
    memory = Memory(4, dict.fromkeys(tasks, (f"{'a' * 32}.1",)), {0: "new"})
    old = Member("a", f"{'a' * 32}.1", generation=4, owned=tasks, knows={0: Version("old", 6)}, memory=memory)
    others = [Member(name, f"{name * 32}.1", knows={0: Version("new", 6)}) for name in "bc"]
    plans = assign([old, *others], 5)
    assert {name: plan.active | plan.promised | plan.warming for name, plan in plans.items()} == {
        "a": tasks,
        "b": set(),
        "c": set(),
    }


def test_tasks_that_nobody_can_run_though_they_know_the_step_are_named() -> None:
    group = Group(Policy())
    one = group.start({0: Version("a", 2)})
    group.rebalance()
    group.settle()
    group.start({0: Version("a", 1)})
    group.rebalance()
    group.kill(one)
    plans = group.rebalance()
    assert [plan.orphans for plan in plans.values()] == [{TaskId(0, 1)}]
    assert "0_1" in next(iter(plans.values())).note


def test_what_no_member_knows_any_more_is_named_once_and_forgotten() -> None:
    """A step that was removed, or an upgrade that was taken back."""
    group = Group(Policy())
    one = group.start({0: Version("a", 1), 1: Version("b", 1)})
    group.rebalance()
    group.settle()
    group.weights = group.sizes = {TaskId(1, 0): 5}
    group.rebalance()
    other = group.start({0: Version("a", 1)})
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
    again = group.start({0: Version("a", 1), 1: Version("b", 1)})
    group.rebalance()
    assert again.own.opening[TaskId(1, 0)] == (FORGOTTEN,), "whoever ran it last may have left something open"
    group.settle()
    assert other.tasks | again.tasks == group.tasks()


def test_weights_are_coarse() -> None:
    assert [coarse(n) for n in (0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 100)] == [1, 1, 2, 3, 4, 6, 6, 8, 12, 12, 16, 128]
