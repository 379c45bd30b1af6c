"""When snapshots are due."""

from __future__ import annotations

from tidemill.engine.snapshots.bandwidth import Bandwidth
from tidemill.engine.snapshots.schedule import first_due, next_due, ready


def test_tasks_that_begin_together_are_spread_over_the_interval():
    due = sorted(first_due(f"0_{number}", 1_000, 60_000) for number in range(40))
    assert 1_000 <= due[0] < 11_000
    assert 51_000 < due[-1] < 61_000


def test_a_failure_is_tried_again_sooner_and_each_time_later():
    assert [next_due(0, 300_000, failures) for failures in range(9)] == [
        *(300_000, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000)
    ]
    assert next_due(0, 1_000, 5) == 1_000


def test_the_one_that_has_waited_longest_comes_first():
    due = {"a": 5, "b": 3, "c": 9, "gone": 1}
    assert ready(due, ["a", "b", "c"], 4) == "b"
    assert ready(due, ["a", "c"], 4) is None
    assert ready(due, ["a", "c", "new"], 9) == "a"


def test_bandwidth_makes_uploads_wait_for_those_before_them():
    now = 0.0
    limit = Bandwidth(1_000, lambda: now)
    pauses: list[float] = []
    for _ in range(4):
        pause = limit._pause(500)
        pauses.append(pause)
        now += max(pause, 0)
    assert pauses == [0.0, 0.5, 0.5, 0.5]
    now += 60
    assert limit._pause(500) < 0  # a pause is not saved up
    assert limit._pause(500) > 0
