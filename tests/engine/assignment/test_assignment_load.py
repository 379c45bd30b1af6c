"""Tests of the assignor with different and changing loads of tasks, and with very many tasks."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import Phase, example, given
from hypothesis import strategies as st

from tests.engine.assignment.test_assignment import histories, owners, play, shapes, versions
from tests.support.examples import examples
from tests.support.group_model import Group, Process
from tidemill.engine.assignment.assignment import AssignmentPolicy
from tidemill.engine.assignment.weights import Weights
from tidemill.engine.ids import TaskId

MINUTE = 60_000


def steps(names: str) -> list[tuple[str, int]]:
    """Return a history for `play`: the named steps, each with number 0."""
    return [(name, 0) for name in names.split()]


def load_of(process: Process, loads: dict[TaskId, int]) -> int:
    return sum(loads[task] for task in process.tasks)


@given(
    st.integers(2, 5), st.lists(st.integers(0, 300), min_size=6, max_size=16), st.integers(0, 2**32 - 1), st.booleans()
)
@examples(40, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_a_skewed_load_moves_tasks_once_and_then_they_stay(
    count: int, busy: list[int], seed: int, stateful: bool
) -> None:
    """Each process measures its tasks as it does in earnest, with noise; the group reviews the load every five minutes
    for an hour and a half."""
    group, noise = Group(AssignmentPolicy()), random.Random(seed)
    knows = versions(len(busy), stateful=stateful)
    for _ in range(count):
        group.start(knows)
    group.rebalance()
    group.settle(5)
    loads = {TaskId(0, number): share for number, share in enumerate(busy)}
    meters = {name: Weights() for name in group.processes}
    moves: list[int] = []
    for minute in range(90):
        for name, process in group.processes.items():
            for ten in range(6):
                for task in process.tasks:
                    meters[name].worked(task, round(loads[task] * 10 * noise.uniform(0.7, 1.3)))
                group.weights.update(meters[name].look(minute * MINUTE + ten * 10_000, process.tasks))
        before = owners(group)
        if minute % 5 == 4:
            group.rebalance()
            group.settle(5)
        after = owners(group)
        moves.append(sum(before[task] != after[task] for task in before))
    assert sum(moves[:30]) <= 2 * len(busy)
    assert sum(moves[30:]) == 0, f"after half an hour of the same load tasks still move: {moves}"


def test_heavy_tasks_are_spread() -> None:
    """Two tasks take half of the time of a process each, six are idle: the two are separated."""
    group = Group(AssignmentPolicy())
    knows = versions(8)
    first, second = group.start(knows), group.start(knows)
    group.rebalance()
    group.settle(5)
    heavy = sorted(first.tasks)[:2]
    group.weights = {TaskId(0, number): 64 for number in range(8)} | dict.fromkeys(heavy, 564)
    group.rebalance()
    group.settle(5)
    assert len(first.tasks & set(heavy)) == len(second.tasks & set(heavy)) == 1
    assert abs(load_of(first, group.weights) - load_of(second, group.weights)) <= 64


@pytest.mark.timeout(600)  # some histories are long, and the machine may be busy
@given(
    shapes,
    st.lists(st.tuples(histories, st.integers(0, 2**32 - 1)), min_size=1, max_size=3),
    st.integers(0, 1),
    st.integers(1, 400),
)
@example([5], [(steps("start start rebalance start throw quiet"), 0)], 1, 102)  # sizes that no owner has reported
@example([1, 2, 9], [(steps("start start rebalance start quiet"), 23), ([], 0)], 0, 128)  # new sizes, no new plan
@examples(200)
def test_weights_and_sizes_may_change_at_any_time(
    shape: list[int], chapters: list[tuple[list[tuple[str, int]], int]], standbys: int, budget: int
) -> None:
    """The invariants hold in every generation, and the group settles after any history.

    `Group.check` includes the rule for warm-ups: each plan stays within the budget by the sizes known to its leader.
    """
    group = Group(AssignmentPolicy(standbys=standbys, small=50, warming_bytes=budget))
    knows = versions(*shape)
    tasks = [TaskId(part, number) for part, many in enumerate(shape) for number in range(many)]
    for history, seed in chapters:
        chance = random.Random(seed)
        group.weights = {task: chance.choice([1, 10, 64, 300, 1000]) for task in tasks if chance.random() < 0.8}
        group.sizes = {task: chance.choice([0, 40, 60, 100, 300]) for task in tasks}
        play(group, knows, history, spread=True)
    if not group.processes:
        group.start(knows)
    group.rebalance()
    group.settle(4 + 2 * len(tasks))  # with a small budget tasks move one after the other
    assert set(owners(group)) == set(tasks)
    assert not group.open
    before = group.transfers
    for _ in range(3):
        group.rebalance()
        group.release_all()
    assert group.transfers == before


@pytest.mark.slow
def test_the_work_of_an_assignment_grows_little_faster_than_the_tasks() -> None:
    """Forty members, four sub-topologies of 500 partitions, weights all over the scale: at the first assignment,
    when a member joins, and when one dies. A quarter of the tasks is the measure, in the same process, so that it does
    not matter how fast the machine is: what is quadratic takes sixteen times as long."""
    quarter, _ = assigned(125)
    took, group = assigned(500)
    assert took < 12 * quarter, (took, quarter)
    counts = [len(process.tasks) for process in group.processes.values()]
    assert sum(counts) > 1_750


def assigned(partitions: int) -> tuple[float, Group]:
    """Return the CPU seconds of the assignments, and the group."""
    group = Group(AssignmentPolicy(standbys=1))
    knows = versions(partitions, partitions, partitions, partitions)
    chance = random.Random(1)
    for number in range(40):
        group.start(knows, f"n{number % 20}", f"r{number % 3}")
    group.weights = {task: 64 + int(chance.paretovariate(1.2) * 5) for task in group.tasks()}

    def timed() -> float:
        began = time.process_time()
        group.rebalance()
        return time.process_time() - began

    took = timed()
    group.settle(8)
    group.start(knows, "n99", "r1")
    took += timed()
    group.settle(8)
    group.kill(next(iter(group.processes.values())))
    return took + timed(), group
