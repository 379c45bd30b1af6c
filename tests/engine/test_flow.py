"""When partitions are paused and resumed, commits are due, and runs get longer or shorter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.flow import FIRST_LIMIT, commit_due, horizons, next_limit, valves

A, B = ("a", 0), ("a", 1)


def test_paused_above_its_share_and_resumed_well_below() -> None:
    assert valves({A: 51, B: 0}, frozenset(), 100) == ((A,), ())
    assert valves({A: 51, B: 0}, frozenset({A}), 100) == ((), ())
    assert valves({A: 13, B: 0}, frozenset({A}), 100) == ((), ())
    assert valves({A: 12, B: 0}, frozenset({A}), 100) == ((), (A,))


@given(st.dictionaries(st.tuples(st.just("t"), st.integers(0, 9)), st.integers(0, 200), min_size=1), st.data())
def test_nothing_is_paused_and_resumed_at_once(waiting: dict[tuple[str, int], int], data: st.DataObject) -> None:
    paused = frozenset(data.draw(st.sets(st.sampled_from(sorted(waiting)))))
    pause, resume = valves(waiting, paused, 500)
    assert not set(pause) & paused
    assert set(resume) <= paused
    after = valves(waiting, (paused | set(pause)) - set(resume), 500)
    assert after == ((), ()), "a second look changes nothing"


def test_a_commit_is_due_by_time_or_by_dirty_bytes_and_only_when_there_is_something() -> None:
    assert commit_due(100, 100, 0, 1000, pending=True)
    assert not commit_due(99, 100, 500, 1000, pending=True)
    assert commit_due(0, 100, 501, 1000, pending=True)
    assert not commit_due(1000, 100, 900, 1000, pending=False)


def test_runs_grow_while_fast_and_shrink_when_slow() -> None:
    limit = FIRST_LIMIT
    for _ in range(10):
        limit = next_limit(limit, 1, 10_000)
    assert limit == 10_000
    assert next_limit(10_000, 100, 10_000) == 10_000
    assert next_limit(100, 10_000, 10_000) == 1
    assert next_limit(1000, 400, 10_000) == 250
    assert next_limit(1, 10**9, 10_000) == 1


def test_tasks_go_side_by_side() -> None:
    assert horizons({"a": 100, "b": 150, "c": None}, 10) == {"a": 160}
    assert horizons({"a": 100, "b": 105, "c": 111}, 10) == {"a": 115, "b": 110}
    assert horizons({"a": 100, "b": 100}, 0) == {"a": 100, "b": 100}
    assert set(horizons({"a": 100, "b": None}, 0)) == {"a"}
    assert horizons({"a": None}, 5) == {}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 50)), min_size=1), st.integers(0, 9)
)
def test_somebody_may_always_go_and_nobody_runs_ahead(times: dict[str, int | None], apart: int) -> None:
    until = horizons(times, apart)
    waiting = {task: time for task, time in times.items() if time is not None}
    assert bool(until) == bool(waiting)
    for task, limit in until.items():
        assert waiting[task] <= limit
        for other, time in waiting.items():
            assert other == task or limit <= time + apart
