"""Tests of the watermark of a task against a model that inspects every record."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.engine.watermarks.watermarks import NOTHING, InputProgress, Watermarks, seen_in
from tidemill.operators.time.watermark import Watermark, together

A, B = ("a", 0), ("b", 0)


def record(timestamp: int) -> tm.Record[Any, Any]:
    return tm.Record("k", 1, timestamp)


runs = st.lists(st.tuples(st.sampled_from([A, B]), st.lists(st.integers(0, 200), min_size=1, max_size=8)), max_size=12)


@given(runs, st.integers(0, 40), st.integers(0, 80), st.booleans())
def test_time_is_that_of_the_input_that_is_furthest_behind(runs: Any, bound: int, other: int, again: bool) -> None:
    """However inputs are cut, watermarks are the same after the same records, including restarts."""
    inputs = {A: Watermark(bound), B: Watermark(other)}
    grain = min(mark.grain for mark in inputs.values())
    newest = {A: -1, B: -1}
    time, expected, told, number = -1, [], [], 0
    for key, times in runs:
        for timestamp in times:
            newest[key] = max(newest[key], timestamp)
            reached = min(
                [newest[each] - inputs[each].bound if newest[each] >= 0 else -1 for each in inputs], default=-1
            )
            if reached >= 0 and reached // grain > (time // grain if time >= 0 else -1):
                expected.append((number, reached))
                time = reached
            number += 1
    marks = Watermarks(inputs, {})
    number = 0
    for key, times in runs:
        for stretch, at in marks.cut(key, [record(timestamp) for timestamp in times], 7):
            number += len(stretch)
            if at is not None:
                told.append((number - 1, at))
        if again:
            marks = Watermarks(inputs, {key: seen_in(f"t=5;{seen}") for key, seen in marks.seen().items()})
    assert told == expected


@given(runs, st.randoms(use_true_random=False))
def test_settled_time_does_not_depend_on_the_order_of_inputs(runs: Any, random: Random) -> None:
    inputs = {A: Watermark(160), B: Watermark(160)}
    found: list[int] = []
    for order in (runs, random.sample(runs, len(runs))):
        marks = Watermarks(inputs, {})
        for key, times in order:
            for _ in marks.cut(key, [record(timestamp) for timestamp in times], 7):
                pass
        before, settled = marks.time, marks.settled()
        assert settled is None or settled > before
        assert marks.settled() is None
        found.append(marks.time)
    assert found[0] == found[1]


def test_an_idle_input_is_not_waited_for() -> None:
    marks = Watermarks({A: Watermark(10, 100), B: Watermark(10, 100)}, {})
    assert [time for _, time in marks.cut(A, [record(500)], 1_000)] == [None]
    assert marks.quiet(1_000, lambda key: True) is None  # from now on b is waited for
    assert marks.quiet(1_099, lambda key: True) is None
    assert marks.quiet(1_200, lambda key: key == A) is None  # b has more, which is not read yet
    [*_] = marks.cut(A, [record(600)], 1_150)
    assert marks.quiet(1_200, lambda key: True) == 590
    assert [time for _, time in marks.cut(B, [record(300)], 1_210)] == [None]  # time does not go back
    assert [time for _, time in marks.cut(A, [record(700)], 1_220)] == [None]  # and waits for b again
    assert [time for _, time in marks.cut(B, [record(650)], 1_230)] == [640]


def test_when_all_inputs_are_idle_time_advances_by_the_wall_clock() -> None:
    marks = Watermarks({A: Watermark(16, 100), B: Watermark(0, 50)}, {})
    [*_] = marks.cut(A, [record(500)], 1_000)
    [*_] = marks.cut(B, [record(400)], 1_010)
    assert marks.time == 400
    assert marks.quiet(1_060, lambda key: True) == 484  # b is not waited for
    assert marks.quiet(1_099, lambda key: True) is None
    assert marks.quiet(1_100, lambda key: True) == 500 - 16 + 90
    assert marks.quiet(1_350, lambda key: True) == 500 - 16 + 340
    again = Watermarks({A: Watermark(16, 100), B: Watermark(0, 50)}, marks.seen())
    assert again.quiet(1_400, lambda key: True) == 500 - 16 + 390


def test_a_restart_continues_with_the_watermark_of_an_idle_time() -> None:
    marks = Watermarks({A: Watermark(0, 100)}, {})
    [*_] = marks.cut(A, [record(500)], 1_000)
    assert marks.quiet(1_200, lambda key: True) == 700
    assert [time for _, time in marks.cut(A, [record(600)], 1_210)] == [None]
    metadata = f"t=600;{marks.seen()[A]}"
    again = Watermarks({A: Watermark(0, 100)}, {A: seen_in(metadata)})
    assert again.time == again.resumed == 700
    assert [time for _, time in again.cut(A, [record(650), record(701)], 1_220)] == [701]
    older = Watermarks({A: Watermark(0, 100)}, {A: seen_in(metadata.replace(";w=700", ""))})
    assert (older.time, older.resumed) == (600, -1)  # by a version that did not write it


def test_without_an_idle_timeout_an_idle_input_blocks_the_watermark() -> None:
    marks = Watermarks({A: Watermark(10, 100), B: Watermark(10)}, {A: InputProgress(500, 0), B: InputProgress(300, 0)})
    assert marks.time == 290
    assert marks.quiet(10**9, lambda key: True) is None
    fresh = Watermarks({A: Watermark(10, 100)}, {})
    assert [fresh.quiet(now, lambda key: True) for now in (0, 10**9)] == [None, None]  # nothing ever came


@pytest.mark.parametrize("metadata", ["", "t=5", "t=-1;n=;a=x", "nonsense", "n=-1;a=-1"])
def test_metadata_that_says_nothing(metadata: str) -> None:
    assert seen_in(metadata) == NOTHING


def test_what_holds_where_inputs_meet() -> None:
    assert together([None, None]) is None
    assert together([Watermark(5, 10), None, Watermark(7, 20)]) == Watermark(7, 20)
    assert together([Watermark(5, 10), Watermark(7)]) == Watermark(7, None)
    assert str(tm.bounded("5s", idle="1m")) == "at most 5s out of order, idle after 1m"
    ahead = tm.bounded("5s", max_ahead="1h")
    assert str(ahead) == "at most 5s out of order, at most 1h ahead of the wall clock"
    assert together([ahead, Watermark(5, 10)]) == Watermark(5_000)  # the clocks are the sources' own
    with pytest.raises(tm.TopologyError, match="max_ahead"):
        tm.bounded("5s", max_ahead="-1h")
