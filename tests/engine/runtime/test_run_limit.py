"""Tests of the size of runs: as large as fits into a fraction of a second, whatever functions cost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.runtime.run_limit import LONGEST_MS, RunLimit

MOST = 10_000
Cost = Callable[[int], float]


def linear(fixed: float, each: float) -> Cost:
    """Return the ms of a run, by its size."""
    return lambda count: fixed + each * count


def runs(cost: Cost, times: int, limit: RunLimit | None = None, available: int = MOST) -> list[tuple[int, int]]:
    """Sizes and ms of runs one after the other."""
    limit = limit or RunLimit(MOST)
    done: list[tuple[int, int]] = []
    for _ in range(times):
        count = min(limit.records, available)
        done.append((count, round(cost(count))))
        limit.ran(*done[-1])
    return done


def test_the_first_run_has_one_record_and_fast_functions_soon_have_many() -> None:
    sizes = [count for count, _ in runs(linear(0, 0.001), 20)]
    assert sizes[:10] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]
    assert sizes[-1] == MOST


@pytest.mark.parametrize("each", [101, 150, 300, 2000, 9000, 60_000])
def test_slow_functions_have_one_record_at_a_time(each: int) -> None:
    done = runs(linear(0, each), 50)
    assert [count for count, _ in done[:1]] == [1]
    assert all(count == 1 for count, _ in done[5:])
    assert sum(count > 1 for count, _ in done) <= 1
    if each > 10_000:
        assert all(count == 1 for count, _ in done), "not even one is tried"


def test_what_costs_the_same_for_one_as_for_many_is_given_many() -> None:
    """A model's batch, a bulk request."""
    done = runs(linear(300, 0.1), 40)
    assert done[-1][0] >= 1000
    assert runs(linear(3000, 1), 40)[-1][0] >= 1000


def test_few_records_are_no_evidence_for_many() -> None:
    limit = RunLimit(MOST)
    runs(linear(0, 40), 1000, limit, available=1)
    assert limit.records <= 50
    limit = RunLimit(MOST)
    runs(linear(0, 0.001), 30, limit)
    assert limit.records == MOST
    runs(linear(0, 40), 1, limit, available=1)
    assert limit.records <= 50, "the functions have become slow"


def test_functions_that_become_slow_have_one_long_run() -> None:
    limit = RunLimit(MOST)
    runs(linear(0, 1), 30, limit)
    assert limit.records * 1 <= LONGEST_MS
    done = runs(linear(0, 500), 10, limit)
    assert all(count == 1 for count, _ in done[4:])
    assert sum(elapsed for _, elapsed in done[1:4]) <= 3 * LONGEST_MS
    assert runs(linear(0, 0.001), 30, limit)[-1][0] == MOST, "and fast again"


@examples(200)
@given(st.lists(st.tuples(st.integers(1, MOST), st.integers(0, 60_000)), max_size=60), st.integers(1, MOST))
def test_runs_grow_step_by_step_and_not_after_a_long_one(times: list[tuple[int, int]], most: int) -> None:
    limit = RunLimit(most)
    for available, elapsed in times:
        before = limit.records
        count = min(before, available)
        limit.ran(count, elapsed)
        assert 1 <= limit.records <= most
        assert limit.records <= max(before // 2, 2 * count)
        if elapsed > 10_000:
            assert limit.records <= count


@examples(200)
@given(st.floats(0, 5000), st.floats(0, 3000), st.integers(1, MOST))
def test_no_run_is_much_longer_than_necessary(fixed: float, each: float, most: int) -> None:
    longest = max(elapsed for _, elapsed in runs(linear(fixed, each), 60, RunLimit(most)))
    assert longest <= 1 + max(2 * (fixed + each), 2.1 * fixed + 100, 400)


@examples(200)
@given(st.floats(0, 3000), st.floats(0.001, 3000))
def test_short_runs_cost_little_throughput(fixed: float, each: float) -> None:
    """The final throughput is a good part of that of the longest sensible run."""
    done = runs(linear(fixed, each), 200)[100:]
    rate = sum(count for count, _ in done) / sum(max(1, elapsed) for _, elapsed in done)
    sensible = max(1, min(MOST, int(max(50, fixed) / each)))
    assert rate >= 0.4 * sensible / max(1, linear(fixed, each)(sensible))
