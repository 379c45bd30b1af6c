"""Tests of `.late(to=topic)`: late records are sent to a topic unchanged, if all their windows are closed."""

from __future__ import annotations

from typing import Any

import pytest

import tidemill as tm
from tests.support.functions import added

LATE: dict[str, Any] = {
    "tumbling": tm.tumbling(10, grace=5),
    "hopping": tm.hopping(10, every=5, grace=5),
    "sliding": tm.sliding(10, grace=5),
    "session": tm.session(gap=5, grace=10),
    "calendar": tm.calendar("hour"),
}


@pytest.mark.parametrize("kind", LATE)
@pytest.mark.parametrize("when", ["update", "close", tm.every("5s")])
def test_late_records(kind: str, when: Any) -> None:
    windows = LATE[kind]
    late = 3_599_999 if kind == "calendar" else 14
    app = tm.App("test")
    grouped = app.stream("a", key=tm.utf8, value=tm.json).group_by(lambda value: value["k"], key=tm.utf8)
    table = grouped.window(windows).late(to="late").emit(when).count().named("w")
    table.to("out")
    with tm.testing.TopologyDriver(app) as driver:
        now = 3_600_000 if kind == "calendar" else 30
        driver.send("a", "x", {"k": "a"}, now)
        driver.send("a", "x", {"k": "b", "n": 1}, late, headers=(("h", b"1"),))
        driver.send("a", "x", {"k": "b", "n": 2}, now)
        assert driver.read("late") == [tm.Record("b", {"k": "b", "n": 1}, late, (("h", b"1"),))]
        assert driver.dropped == {("w", "late"): 2 if kind == "hopping" else 1}  # as often as it has windows
        assert [task.lateness() for task in driver._tasks.values()] == [{}, {"w": now - late}]


def test_late_for_some_windows_is_not_late() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.hopping(10, every=5)).late(
        to="late"
    ).count().named("w").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 14)
        driver.send("a", "k", 2, 8)  # [0, 10) is closed, [5, 15) is not
        assert driver.read("late") == []
        assert driver.dropped == {("w", "late"): 1}
        assert [(r.key.start, r.value) for r in driver.read("out")] == [(5, 1), (10, 1), (5, 2)]


def test_the_topic_has_serdes_of_its_own() -> None:
    app = tm.App("test")
    grouped = app.stream("a", key=tm.utf8, value=tm.int64).group_by_key()
    grouped.window(tm.tumbling(10)).late(to="late", value=tm.json).count()
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 50)
        driver.send("a", "k", 2, 5)
        assert [row[:3] for row in driver.read_bytes("late")] == [(b"k", b"2", 5)]


@pytest.mark.parametrize("watermark", [None, tm.bounded(0)])
def test_how_late_the_latest_was(watermark: Any) -> None:
    app = tm.App("test")
    a, b = (app.stream(topic, key=tm.utf8, value=tm.json, watermark=watermark).group_by_key() for topic in "ab")
    cogrouped = a.cogroup(added).cogroup(b, added)
    cogrouped.window(tm.tumbling(10)).aggregate(lambda: 0).named("c")
    a.window(tm.tumbling(10)).count().named("w")
    with tm.testing.TopologyDriver(app) as driver:
        for topic, time in (("a", 100), ("b", 100), ("a", 70), ("a", 5), ("a", 40)):
            driver.send(topic, "k", 1, time)
        [task] = driver._tasks.values()
        assert task.lateness() == {"c": 95, "w": 95}


def test_how_late_a_row_was_for_a_join_of_tables() -> None:
    app = tm.App("test")
    a, b = (app.stream(topic, key=tm.utf8, value=tm.json).group_by_key() for topic in "ab")
    left, right = (grouped.window(tm.tumbling(10)).count() for grouped in (a, b))
    left.join(right, added).named("j")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 700)
        driver.send("b", "k", 1, 5)
        [task] = driver._tasks.values()
        assert (driver.dropped, task.lateness()) == ({("j", "late"): 1}, {"j": 695})
