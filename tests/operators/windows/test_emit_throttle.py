"""Tests of `.emit(tm.every(...))`: the newest result per window, at most one per interval."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.programs_windows import WINDOWS
from tests.support.untyped import untyped
from tidemill import testing

KINDS = {name: windows for name, windows in WINDOWS.items() if name != "calendar"}


def rebuilt(driver: testing.TopologyDriver) -> None:
    """Rebuild every operator from its store."""
    for task in driver._tasks.values():
        for key in task.discard():
            task.caught_up(key, True)


def stream(app: tm.App, windows: Any, when: Any) -> tm.WindowedStream[str, Any]:
    return app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(windows).emit(when)


def test_the_newest_result_once_an_interval() -> None:
    app = tm.App("test")
    stream(app, tm.tumbling(100), tm.every("5s")).count().named("w").to("out")
    with testing.TopologyDriver(app, now=1_000) as driver:
        for time in (1, 2, 3, 150):
            driver.send("a", "k", 1, time)
        driver.advance_wall_clock("4999ms")
        assert driver.read("out") == []
        rebuilt(driver)
        driver.advance_wall_clock("1ms")
        found = [(r.key.start, r.value, r.timestamp) for r in driver.read("out")]
        assert found == [(0, 3, 3), (100, 1, 150)]
        driver.advance_wall_clock("10s")
        assert driver.read("out") == []  # nothing has changed
        driver.send("a", "k", 1, 160)
        driver.advance_wall_clock("5s")
        assert [(r.key.start, r.value) for r in driver.read("out")] == [(100, 2)]


def test_a_window_that_is_forgotten_is_sent_before() -> None:
    app = tm.App("test")
    stream(app, tm.tumbling(10), tm.every("5s")).count().named("w").to("out")
    with testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 5)
        driver.send("a", "k", 1, 10_000)
        assert len(driver.store("w")) == 2
        driver.advance_wall_clock("5s")
        assert [(r.key.start, r.value) for r in driver.read("out")] == [(0, 1), (10_000, 1)]
        assert len(driver.store("w")) == 1


def test_sessions_that_were_never_sent_are_not_withdrawn() -> None:
    app = tm.App("test")
    stream(app, tm.session(gap=5), tm.every("5s")).count().named("w").to("out")
    with testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 0)
        driver.send("a", "k", 1, 4)
        driver.advance_wall_clock("5s")
        assert [(r.key, r.value) for r in driver.read("out")] == [(tm.Windowed("k", 0, 4), 2)]
        driver.send("a", "k", 1, 6)
        driver.send("a", "k", 1, 7)
        driver.advance_wall_clock("5s")
        assert [(r.key, r.value) for r in driver.read("out")] == [
            (tm.Windowed("k", 0, 4), None),
            (tm.Windowed("k", 0, 7), 4),
        ]


def test_the_clock_may_be_put_back() -> None:
    app = tm.App("test")
    stream(app, tm.tumbling(10), tm.every("5s")).count().named("w").to("out")
    with testing.TopologyDriver(app, now=1_000_000) as driver:
        driver.send("a", "k", 1, 5)
        driver.clock.jump(100_000)
        driver.advance_wall_clock("1s")
        assert len(driver.read("out")) == 1


events = st.lists(
    st.tuples(st.sampled_from("kl"), st.integers(0, 60), st.none() | st.integers(0, 9), st.integers(0, 40)),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("kind", KINDS)
@examples(25)
@given(events)
def test_the_last_results_are_those_of_every_update(kind: str, given_events: list[tuple[str, int, Any, int]]) -> None:
    """Sent at intervals or at once: in the end a reader of the table has the same rows. And none too often.

    A rebuild of the operator between any two records changes nothing.
    """

    def table(app: tm.App, when: Any) -> tm.WindowedTable[str, Any]:
        reduced = stream(app, KINDS[kind], when).reduce(lambda a, b: None if ((a or 0) + (b or 0)) % 4 == 0 else b)
        return reduced.named("w")

    app = tm.App("test")
    table(app, tm.every(30)).to("out")
    grouped = tm.App("groups")
    table(grouped, tm.every(30)).group_by(lambda value: "all").count().to("out_groups")
    every = tm.App("updates")
    table(every, "update").to("out")
    updates: dict[Any, Any] = {}
    rows: dict[Any, Any] = {}
    last: dict[Any, int] = {}
    count = 0
    with (
        testing.TopologyDriver(app) as driver,
        testing.TopologyDriver(every) as other,
        testing.TopologyDriver(grouped) as groups,
    ):
        for key, time, value, pause in [*given_events, ("k", 60, 1, 31), ("k", 60, 2, 31)]:
            for target in (driver, other, groups):
                target.send("a", key, value, time)
            rebuilt(driver)
            for target in (driver, groups):
                target.advance_wall_clock(pause)
            for record in driver.read("out"):
                assert driver.clock.now() - last.get(record.key, -30) >= 30
                last[record.key] = driver.clock.now()
                rows[record.key] = record.value
            for record in groups.read("out_groups"):
                count = record.value or 0
            for record in other.read("out"):
                updates[record.key] = record.value
    kept = {key: value for key, value in updates.items() if value is not None}
    if kind != "sessions":  # sessions exactly at the boundary may differ
        assert {key: value for key, value in rows.items() if value is not None} == kept
    assert count == sum(value is not None for value in rows.values())


def test_mistakes() -> None:
    windowed = tm.App("x").stream("a").group_by_key().window(tm.tumbling(10))
    with pytest.raises(tm.TopologyError, match=r"takes 'update', 'commit', 'close' or tm.every\('5s'\), not '5s'"):
        windowed.emit(untyped("5s"))
