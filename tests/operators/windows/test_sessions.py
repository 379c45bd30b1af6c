"""Tests of sessions against a slow model: lists of records per key, split at longer gaps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm

GAP = 4

events = st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 60), st.integers(0, 9)), max_size=25)


class Model:
    """The rules in the simplest implementation."""

    def __init__(self, grace: int, *, on_close: bool) -> None:
        self.span, self.on_close = GAP + grace, on_close
        self.time = -1
        self.late = 0
        self.sessions: dict[Any, str] = {}

    def process(self, key: str, time: int, value: int) -> list[Any]:
        known = [
            window
            for window in sorted(self.sessions, key=lambda window: window.end)
            if window.key == key
            and window.start - GAP <= time <= window.end + GAP
            and window.end >= self.time - self.span
        ]
        self.time = max(self.time, time)
        start = min([time, *(window.start for window in known)])
        end = max([time, *(window.end for window in known)])
        if end < self.time - self.span:
            self.late += 1
            return []
        sent: list[Any] = []
        text = ""
        for window in known:
            text = f"{text}|{self.sessions.pop(window)}"
            if (start, end) != (time, time):
                sent.append((window, None, window.end))
        merged = tm.Windowed(key, start, end)
        self.sessions[merged] = text + str(value)
        sent.append((merged, self.sessions[merged], end))
        if self.on_close:
            sent = []
        for window in sorted(self.sessions, key=lambda window: (window.end, window.start, window.key)):
            if self.on_close and window.end < self.time - self.span:
                sent.append((window, self.sessions.pop(window), window.end))
            elif not self.on_close and window.end < self.time - self.span:
                del self.sessions[window]
        return sent


@given(events, st.integers(0, 9), st.booleans())
def test_sessions(given_events: list[tuple[str, int, int]], grace: int, on_close: bool) -> None:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.session(gap=GAP, grace=grace))
    stream = stream.emit("close" if on_close else "update").late(to="late")
    merge = "{}|{}".format
    stream.aggregate("", lambda text, value: f"{text}{value}", merge=merge).named("s").to("out")
    model = Model(grace, on_close=on_close)
    with tm.testing.TopologyDriver(app) as driver:
        for key, time, value in given_events:
            late = model.late
            driver.send("a", key, value, time)
            assert [(r.key, r.value, r.timestamp) for r in driver.read("out")] == model.process(key, time, value)
            assert [(r.key, r.value, r.timestamp) for r in driver.read("late")] == [(key, value, time)] * (
                model.late - late
            )
        assert driver.dropped.get(("s", "late"), 0) == model.late
        assert dict(driver.store("s").items()) == model.sessions


@given(st.lists(st.tuples(st.integers(0, 60), st.none() | st.integers(0, 9)), min_size=1, max_size=15))
def test_columns_of_merged_sessions_are_those_of_all_records(records: list[tuple[int, int | None]]) -> None:
    def values(session: Any) -> list[int]:
        return [value for time, value in records if session.start <= time <= session.end and value is not None]

    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.session(gap=GAP, grace=1_000))
    columns = {"n": tm.count(), "sum": tm.sum(lambda v: v), "mean": tm.mean(lambda v: v)}
    columns |= {"min": tm.min(), "max": tm.max(), "first": tm.first(), "last": tm.last(), "all": tm.collect()}
    stream.aggregate(**columns).named("s")
    with tm.testing.TopologyDriver(app) as driver:
        for time, value in records:
            driver.send("a", "k", value, time)
        for session, row in driver.store("s").items():
            seen = values(session)
            assert row["n"] == sum(session.start <= time <= session.end for time, _ in records)
            assert (row["sum"], sorted(row["all"])) == (sum(seen), sorted(seen))
            assert row["mean"] == (sum(seen) / len(seen) if seen else None)
            assert (row["min"], row["max"]) == (min(seen, default=None), max(seen, default=None))
            assert (row["first"], row["last"]) == ((row["all"][0], row["all"][-1]) if seen else (None, None))


def test_a_reducer_merges_sessions() -> None:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.session(gap=GAP, grace=100))
    stream.reduce(lambda a, b: f"({a}{b})").named("s")
    with tm.testing.TopologyDriver(app) as driver:
        for value, time in (("a", 0), ("b", 8), ("c", 4)):
            driver.send("a", "k", value, time)
        assert list(driver.store("s").items()) == [(tm.Windowed("k", 0, 8), "((ab)c)")]
        assert driver.store("s").get(tm.Windowed("k", 0, 8)) == "((ab)c)"


def test_sessions_that_grow_leave_no_trace_in_the_changelog() -> None:
    """A session has another key with each record; what is gone before a commit is not written."""
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.session(gap=GAP)).count().named("s")
    with tm.testing.TopologyDriver(app) as driver:
        task = next(iter(driver._tasks.values()))
        changes: list[Any] = []
        seal = task.prepare_commit

        def noting() -> Any:
            sealed = seal()
            changes.extend(sealed.changes)
            return sealed

        task.prepare_commit = noting
        driver.send_all("a", [tm.Record("k", 1, time) for time in range(50)])
        assert len(changes) == 3  # the session, the key's list, the clock
        changes.clear()
        driver.send_all("a", [tm.Record("k", 1, time) for time in range(50, 100)])
        assert len(changes) == 4  # and that the one before is gone


@pytest.mark.parametrize("when", ["update", "close"])
def test_a_session_that_is_just_still_open_takes_records(when: Any) -> None:
    """Stream time is exactly the gap and the grace beyond its end."""
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.session(gap="30m")).emit(when)
    stream.count().named("s").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "eve", 1, 1_800_000)
        for _ in range(3):
            driver.send("a", "bob", 1, 0)
        driver.send("a", "eve", 1, 4_000_000)
        counts = [record.value for record in driver.read("out") if record.key.key == "bob"]
        assert counts == ([1, 2, 3] if when == "update" else [3])
        assert driver.dropped == {}


def test_what_cannot_be_merged_is_refused() -> None:
    grouped = tm.App("x").stream("a").group_by_key().window(tm.session(gap="5m"))
    with pytest.raises(tm.TopologyError, match="say how two of its results make one"):
        grouped.aggregate(list, lambda so_far, value: so_far)
    with pytest.raises(tm.TopologyError, match="the gap of sessions: 0 must be at least '1ms'"):
        tm.session(gap=0)
