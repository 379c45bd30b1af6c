"""Tests of task weights: smoothed, coarse, and constant under a constant load."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.assignment.assignment import coarse
from tidemill.engine.assignment.weights import IDLE, SETTLED_MS, Weights
from tidemill.engine.ids import TaskId

ONE, OTHER = TaskId(0, 0), TaskId(0, 1)
SECOND = 1_000


def run(weights: Weights, seconds: int, load: dict[TaskId, int], begin: int = 0) -> list[dict[TaskId, int]]:
    """So many seconds with so much work a second; what each second's look gave."""
    found: list[dict[TaskId, int]] = []
    for second in range(begin, begin + seconds):
        for task, ms in load.items():
            weights.worked(task, ms)
        found.append(dict(weights.look(second * SECOND, load)))
    return found


def test_a_task_has_a_weight_once_it_was_watched_for_two_minutes() -> None:
    seen = run(Weights(), 130, {ONE: 500, OTHER: 0})
    first = next(second for second, weights in enumerate(seen) if weights)
    assert first == SETTLED_MS // SECOND
    assert seen[-1] == {ONE: coarse(IDLE + 500), OTHER: coarse(IDLE)}


def test_the_initial_load_of_a_task_is_ignored() -> None:
    weights = Weights()
    run(weights, 20, {ONE: 1000})
    assert run(weights, 600, {ONE: 100}, begin=20)[-1][ONE] <= 2 * (IDLE + 100)


def test_a_task_that_was_released_has_no_weight_and_is_measured_again() -> None:
    weights = Weights()
    run(weights, 150, {ONE: 900, OTHER: 10})
    assert set(weights.look(150 * SECOND, [OTHER])) == {OTHER}
    assert set(weights.look(151 * SECOND, [ONE, OTHER])) == {OTHER}, "its earlier load is no news of it"


@given(st.integers(0, 900), st.integers(0, 2**32 - 1))
@examples(60)
def test_noise_around_a_load_changes_nothing(load: int, seed: int) -> None:
    """Per second anything between zero and twice the load, and a mean near a boundary of the scale."""
    weights, noise = Weights(), random.Random(seed)
    told: list[int] = []
    for second in range(1200):
        weights.worked(ONE, noise.randint(0, 2 * load) if load else 0)
        found = weights.look(second * SECOND, [ONE])
        if second >= 300:
            told.append(found[ONE])
    changes = sum(a != b for a, b in pairwise(told))
    assert changes <= 2, "a quarter of an hour of steady load, and the figure does not rest"


@given(st.integers(0, 1000), st.integers(0, 1000))
@examples(100)
def test_a_lasting_load_is_known_within_a_step_of_the_scale(first: int, then: int) -> None:
    weights = Weights()
    run(weights, 200, {ONE: first})
    found = run(weights, 900, {ONE: then}, begin=200)[-1][ONE]
    assert (IDLE + then) / 1.25 <= found <= 2 * (IDLE + then)
