"""Tests of timers: which of them fire when, and that they survive restarts."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.one_processor import driver, read, rebuild
from tidemill.operators.graph.operator import Operator
from tidemill.operators.processors.processing import Processing, Timing


class Scripted(tm.Processor[str, list[Any], Any]):
    """Set and cancel timers as given by each record, and emit when they fire."""

    fired = tm.ValueState(int, default=0)

    def process(self, value: list[Any], ctx: tm.Context[str]) -> Any:
        for name, after, clock in value:
            if after is None:
                ctx.cancel(name)
            else:
                ctx.timer(name, after=after, clock=clock)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        self.fired.set(self.fired.get() + 1)
        yield [name, ctx.key, ctx.timestamp, ctx.stream_time, ctx.now, self.fired.get()]
        if name.startswith("again") and self.fired.get() < 4:
            ctx.timer(name, after=10)
        if name == "bad":
            raise ValueError("bad")
        if name == "loop":
            ctx.timer("loop", after=0)


def test_a_timer_fires_once_when_stream_time_reaches_it() -> None:
    with driver(Scripted) as running:
        running.send("a", "k", [["t", 10, "event"]], 5)
        running.send("a", "l", [], 14)
        assert read(running) == []
        assert list(running.store("p-timers").items()) == [(("k", "t"), ("event", 15))]
        running.send("a", "l", [], 20)
        assert running.read("out") == [tm.Record("k", ["t", "k", 15, 20, 0, 1], 15)]
        running.send("a", "l", [], 100)
        assert read(running) == []
        assert list(running.store("p-timers").items()) == []


def test_timers_fire_in_the_order_in_which_they_are_due() -> None:
    with driver(Scripted) as running:
        running.send("a", "l", [["b", 5, "event"], ["a", 5, "event"], ["c", 3, "event"]], 0)
        running.send("a", "k", [["z", 5, "event"]], 0)
        running.send("a", "x", [], 50)
        assert [(name, key) for name, key, *_ in read(running)] == [("c", "l"), ("z", "k"), ("a", "l"), ("b", "l")]


def test_a_timer_fires_before_the_record_that_moves_time_to_it() -> None:
    """So that a record which comes after a long silence cannot hide that there was one."""
    with driver(Scripted) as running:
        running.send("a", "k", [["quiet", 10, "event"]], 0)
        running.send("a", "k", [["quiet", 10, "event"]], 50)
        assert [(name, at) for name, _, at, *_ in read(running)] == [("quiet", 10)]
        assert list(running.store("p-timers").items()) == [(("k", "quiet"), ("event", 60))]


def test_a_timer_replaces_the_one_of_its_name_whatever_its_clock() -> None:
    with driver(Scripted) as running:
        running.send("a", "k", [["t", 10, "event"], ["u", 10, "event"]], 0)
        running.send("a", "k", [["t", 20, "event"], ["u", 10, "wall"]], 1)
        running.send("a", "k", [], 15)
        assert read(running) == []
        assert dict(running.store("p-timers").items()) == {("k", "t"): ("event", 21), ("k", "u"): ("wall", 10)}
        running.send("a", "k", [["t", None, ""], ["never set", None, ""]], 16)
        running.send("a", "k", [], 50)
        assert read(running) == []


def test_a_timer_that_is_due_already_fires_after_its_record() -> None:
    with driver(Scripted) as running:
        running.send("a", "k", [], 100)
        running.send("a", "k", [["t", 10, "event"]], 5)
        assert read(running) == [["t", "k", 15, 100, 0, 1]]


def test_timers_that_set_themselves_again() -> None:
    with driver(Scripted) as running:
        running.send("a", "k", [["again", 10, "event"]], 0)
        running.send("a", "k", [], 1000)
        assert [at for _, _, at, *_ in read(running)] == [10, 20, 30, 40]


def test_a_timer_cannot_set_itself_for_the_same_time() -> None:
    with driver(Scripted) as running:
        running.send("a", "k", [["loop", 10, "event"]], 0)
        with pytest.raises(tm.RecordError, match="timer 'loop' would be due at 10, while timer 'loop' of 10 fires"):
            running.send("a", "k", [], 10)


def test_wall_clock_timers() -> None:
    with driver(Scripted, now=1_000) as running:
        running.send("a", "k", [["t", "5s", "wall"], ["u", "1m", "wall"]], 7)
        running.advance_wall_clock("4s")
        assert read(running) == []
        rebuild(running)
        running.advance_wall_clock("2s")
        assert running.read("out") == [tm.Record("k", ["t", "k", 7, 7, 7_000, 1], 7)]
        running.advance_wall_clock("2m")
        assert [name for name, *_ in read(running)] == ["u"]


@pytest.mark.parametrize("clock", ["event", "wall"])
def test_a_timer_that_fails_is_named(clock: str) -> None:
    with driver(Scripted) as running:
        running.send("a", "k", [["bad", 5, clock]], 0)
        with pytest.raises(tm.RecordError, match="could not fire timer 'bad' for a record: ValueError: bad"):
            running.send("a", "k", [], 10) if clock == "event" else running.advance_wall_clock(5)


def test_a_timer_that_fails_changes_nothing_and_blocks_no_other() -> None:
    with driver(Scripted, on_error=tm.skip) as running:
        running.send("a", "k", [["a", 5, "event"], ["bad", 6, "event"], ["c", 7, "event"]], 0)
        running.send_all("a", [tm.Record("k", [["d", 1, "event"]], 10), tm.Record("l", [], 12)])
        assert [(name, fired) for name, _, _, _, _, fired in read(running)] == [("a", 1), ("c", 2), ("d", 3)]
        assert list(running.store("p-timers").items()) == []
        assert running.dropped == {("p", "error"): 1}


def test_timers_that_are_due_with_one_that_fails_after_the_last_record() -> None:
    with driver(Scripted, on_error=tm.skip) as running:
        running.send("a", "k", [["a", 100, "event"]], 0)
        running.send("a", "l", [], 50)
        running.send("a", "l", [["b", 1, "event"], ["bad", 2, "event"], ["c", 3, "event"]], 0)
        assert [name for name, *_ in read(running)] == ["b", "c"]
        assert dict(running.store("p-timers").items()) == {("k", "a"): ("event", 100)}


class At(tm.Processor[str, Any, Any]):
    def process(self, value: Any, ctx: tm.Context[str]) -> None:
        ctx.timer("t", **value)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        return [ctx.timestamp]


class AtMoment(At):
    def process(self, value: Any, ctx: tm.Context[str]) -> None:
        if value is None:
            ctx.timer("t", at=datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc))


def test_a_timer_at_a_time() -> None:
    for processor, value in ((At, {"at": 1000}), (AtMoment, None)):
        with driver(processor) as running:
            running.send("a", "k", value, 0)
            running.send("a", "k", {"at": 5000}, 1500)
            assert read(running) == [1000]


class NoTimers(tm.Processor[str, Any, Any]):
    def process(self, value: Any, ctx: tm.Context[str]) -> None:
        ctx.timer("t", after=5)


class CalledTimers(At):
    timers = tm.ValueState(int)


@pytest.mark.parametrize(
    ("processor", "value", "reason"),
    [
        (At, {}, "takes either after= or at="),
        (At, {"after": 5, "at": 5}, "takes either after= or at="),
        (At, {"after": "soon"}, "after: 'soon' is not a duration"),
        (At, {"after": -5}, "after: -5 must not be negative"),
        (At, {"after": 5, "clock": "sun"}, "is 'event' or 'wall', not 'sun'"),
        (NoTimers, {}, r"must have a method on_timer\(self, name, ctx\)"),
    ],
)
def test_mistakes(processor: Any, value: Any, reason: str) -> None:
    with driver(processor) as running, pytest.raises(tm.RecordError, match=reason):
        running.send("a", "k", value, 0)


def test_what_equals_a_duration_is_none_whatever_came_before() -> None:
    with driver(At, on_error=tm.skip) as running:
        for after in (1, True, 1.0):
            running.send("a", "k", {"after": after}, 0)
        assert running.dropped == {("p", "error"): 2}


def test_a_state_cannot_be_called_like_the_store_of_timers() -> None:
    with pytest.raises(tm.TopologyError, match=r"CalledTimers\.timers: the store of that name is for the timers"):
        driver(CalledTimers)


def test_only_a_processor_with_timers_receives_the_time() -> None:
    assert Timing.tick is not Operator.tick
    assert Processing.tick is Operator.tick


Step = tuple[str, int, list[Any]]
settings = st.lists(
    st.tuples(st.sampled_from(["a", "b", "again"]), st.none() | st.integers(0, 30), st.just("event")), max_size=2
)
steps = st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 60), settings), max_size=20)


@given(steps)
def test_timers_against_a_model(script: list[Step]) -> None:
    timers: dict[tuple[str, str], int] = {}
    fired = {"k": 0, "l": 0}
    time = 0
    with driver(Scripted) as running:
        for key, at, actions in script:
            running.send("a", key, actions, at)
            time = max(time, at)
            expected: list[Any] = []
            for processed in (False, True):
                for name, after, _ in actions if processed else ():
                    timers.pop((key, name), None)
                    if after is not None:
                        timers[key, name] = at + after
                while timers and min(timers.values()) <= time:
                    due, owner, name = min((due, *place) for place, due in timers.items())
                    del timers[owner, name]
                    fired[owner] += 1
                    expected.append([name, owner, due, time, 0, fired[owner]])
                    if name == "again" and fired[owner] < 4:
                        timers[owner, name] = due + 10
            assert read(running) == expected
            rebuild(running)
        assert dict(running.store("p-timers").items()) == {place: ("event", due) for place, due in timers.items()}
