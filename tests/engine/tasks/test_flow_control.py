"""Tests of flow control: pause and resume of partitions, due commits, and the size of runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.tasks.flow_control import commit_due, pause_and_resume, time_limits, turn_ends

A, B = ("a", 0), ("a", 1)


def test_paused_above_its_share_and_resumed_well_below() -> None:
    assert pause_and_resume({A: 51, B: 0}, frozenset(), 100) == ((A,), ())
    assert pause_and_resume({A: 51, B: 0}, frozenset({A}), 100) == ((), ())
    assert pause_and_resume({A: 13, B: 0}, frozenset({A}), 100) == ((), ())
    assert pause_and_resume({A: 12, B: 0}, frozenset({A}), 100) == ((), (A,))


@given(st.dictionaries(st.tuples(st.just("t"), st.integers(0, 9)), st.integers(0, 200), min_size=1), st.data())
def test_nothing_is_paused_and_resumed_at_once(waiting: dict[tuple[str, int], int], data: st.DataObject) -> None:
    paused = frozenset(data.draw(st.sets(st.sampled_from(sorted(waiting)))))
    pause, resume = pause_and_resume(waiting, paused, 500)
    assert not set(pause) & paused
    assert set(resume) <= paused
    after = pause_and_resume(waiting, (paused | set(pause)) - set(resume), 500)
    assert after == ((), ()), "a second look changes nothing"


def test_a_commit_is_due_by_time_or_by_dirty_bytes_and_only_when_there_is_something() -> None:
    assert commit_due(100, 100, 0, 1000, pending=True)
    assert not commit_due(99, 100, 500, 1000, pending=True)
    assert commit_due(0, 100, 501, 1000, pending=True)
    assert not commit_due(1000, 100, 900, 1000, pending=False)


def test_a_turn_ends_when_a_commit_is_due_but_has_some_time_at_least_and_at_most() -> None:
    assert turn_ends(1000, last_commit=990, interval=100) == 1090
    assert turn_ends(1000, last_commit=0, interval=100) == 1020
    assert turn_ends(1000, last_commit=990, interval=30_000) == 1500


def test_tasks_advance_together() -> None:
    assert time_limits({"a": 100, "b": 150, "c": None}, 10) == {"a": 160}
    assert time_limits({"a": 100, "b": 105, "c": 111}, 10) == {"a": 115, "b": 110}
    assert time_limits({"a": 100, "b": 100}, 0) == {"a": 100, "b": 100}
    assert set(time_limits({"a": 100, "b": None}, 0)) == {"a"}
    assert time_limits({"a": None}, 5) == {}


@given(
    st.dictionaries(st.sampled_from("abcd"), st.one_of(st.none(), st.integers(0, 50)), min_size=1), st.integers(0, 9)
)
def test_a_task_can_always_run_and_none_runs_ahead(times: dict[str, int | None], apart: int) -> None:
    until = time_limits(times, apart)
    waiting = {task: time for task, time in times.items() if time is not None}
    assert bool(until) == bool(waiting)
    for task, limit in until.items():
        assert waiting[task] <= limit
        for other, time in waiting.items():
            assert other == task or limit <= time + apart
