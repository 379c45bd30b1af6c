"""Tests of recurring methods of processors: when they are called, with which state, and durability."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.one_processor import driver, read, rebuild


class Clocks(tm.Processor[str, int, Any]):
    """Emit the times of its calls; count per key."""

    count = tm.ValueState(int, default=0, name="counts")

    def process(self, value: int, ctx: tm.Context[str]) -> None:
        self.count.set(self.count.get() + value)

    @tm.every(10)
    def stream(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, Any]]:
        yield tm.Record("stream", [ctx.timestamp, ctx.stream_time, dict(self.count.scan())], ctx.timestamp)

    @tm.every(100, clock="wall")
    def wall(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, Any]]:
        yield tm.Record("wall", [ctx.timestamp, ctx.now, dict(self.count.scan())], ctx.timestamp)


@given(st.lists(st.integers(0, 100), min_size=1), st.booleans())
def test_by_stream_time_it_is_called_after_the_record_that_reaches_a_multiple(times: list[int], again: bool) -> None:
    expected: list[int] = []
    newest, due = -1, 0
    with driver(Clocks) as running:
        for time in times:
            newest = max(newest, time)
            if newest >= due:
                expected.append(newest)
                due = newest - newest % 10 + 10
            running.send("a", "k", 1, time)
            if again:
                rebuild(running)
        assert [value[0] for value in read(running)] == expected


@given(st.lists(st.integers(1, 350), max_size=20), st.booleans(), st.integers(0, 1_000))
def test_by_the_wall_clock_it_is_called_at_intervals_from_the_start(steps: list[int], again: bool, start: int) -> None:
    expected: list[int] = []
    now, due = start, start + 100
    with driver(Clocks, now=start) as running:
        for step in steps:
            now += step
            if now >= due:
                expected.append(now)
                due += ((now - due) // 100 + 1) * 100
            running.advance_wall_clock(step)
            if again:
                rebuild(running)
        assert [value[0] for value in read(running)] == expected


def test_it_sees_all_keys_of_the_task() -> None:
    with driver(Clocks) as running:
        running.send("a", "l", 1, 5)
        running.send("a", "k", 2, 6)
        running.send("a", "l", 3, 30)
        running.advance_wall_clock(120)
        assert read(running) == [
            [5, 5, {"l": 1}],
            [30, 30, {"k": 2, "l": 4}],
            [120, 120, {"k": 2, "l": 4}],
        ]
        assert dict(running.store("counts").items()) == {"k": 2, "l": 4}


class Failing(tm.Processor[str, int, Any]):
    """Fail at certain times, after writing."""

    calls = tm.ValueState(int, default=0)

    def process(self, value: int, ctx: tm.Context[str]) -> None:
        self.calls.set(value)

    def mark(self, ctx: tm.Context[str], name: str) -> Any:
        ctx.use("k")
        self.calls.set(self.calls.get() + 1)
        if ctx.timestamp == 30:
            raise ValueError("30")
        return [tm.Record(name, self.calls.get(), ctx.timestamp)]

    @tm.every(10)
    def first(self, ctx: tm.Context[str]) -> Any:
        return self.mark(ctx, "first")

    @tm.every(15)
    def second(self, ctx: tm.Context[str]) -> Any:
        return self.mark(ctx, "second")

    @tm.every(30, clock="wall")
    def third(self, ctx: tm.Context[str]) -> Any:
        return self.mark(ctx, "third")

    @tm.every(20, clock="wall")
    def fourth(self, ctx: tm.Context[str]) -> Any:
        return self.mark(ctx, "fourth")


def test_a_method_that_fails_has_no_effect_and_the_others_are_still_called() -> None:
    with driver(Failing, on_error=tm.skip) as running:
        running.send("a", "k", 1, 30)  # both fail
        running.send("a", "k", 5, 60)
        assert read(running) == [6, 7]
        running.advance_wall_clock(30)  # both fail
        running.advance_wall_clock(30)
        assert read(running) == [8, 9]
        assert running.dropped == {("p", "error"): 4}


def test_one_that_fails_stops_the_program_by_default() -> None:
    with driver(Failing) as running, pytest.raises(tm.RecordError, match=r"step 'p'.* could not call first\(\) for"):
        running.send("a", "k", 1, 30)
    with driver(Failing) as running, pytest.raises(tm.RecordError, match=r"step 'p'.* could not call fourth\(\) for"):
        running.advance_wall_clock(30)


class Careless(tm.Processor[str, int, Any]):
    """Use operations that are not allowed."""

    total = tm.ValueState(int, default=0)

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake

    def process(self, value: int, ctx: tm.Context[str]) -> None:
        if self.mistake == "use":
            ctx.use("other")

    def on_timer(self, name: str, ctx: tm.Context[str]) -> None: ...

    @tm.every(10)
    def recur(self, ctx: tm.Context[str]) -> Any:
        if self.mistake == "state":
            self.total.set(1)
        if self.mistake == "timer":
            ctx.timer("t", after=10)
        if self.mistake == "value":
            yield 1


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("use", "here the key is that of the record"),
        ("state", r"there is no current key.*ctx\.use\(key\)"),
        ("timer", r"timer 't': there is no current key"),
        ("value", r"it yields tm\.Record\(key, value, timestamp\), not 1"),
    ],
)
def test_errors_have_a_remedy(mistake: str, message: str) -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).process(Careless, mistake).named("p").to("out")
    with tm.testing.TopologyDriver(app) as running, pytest.raises(tm.RecordError) as caught:
        running.send("a", "k", 1, 30)
    assert caught.match("could not")
    with pytest.raises(RuntimeError if mistake != "value" else TypeError, match=message):
        raise caught.value.__cause__ or caught.value


def test_what_it_sends_is_repartitioned_before_a_keyed_step() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).process(Clocks).named("p").group_by_key().count().named("n").to("out")
    assert [topic.name for topic in tm.testing.TopologyDriver(app).plan.internal if topic.kind == "repartition"] == [
        "test-n-repartition"
    ]
