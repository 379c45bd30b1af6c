"""Tests of `map_async`, step by step, with results that the test triggers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.operators.errors import RecordError, TopologyError
from tidemill.operators.graph.calls import AsyncCall, AsyncCallOptions, CallResult
from tidemill.operators.serdes.auto import auto
from tidemill.operators.stateless.async_map import AsyncMap
from tidemill.operators.stateless.pending import pending_codec
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore
from tidemill.state.store import Position

OPTIONS = AsyncCallOptions(timeout=1000, retries=0, backoff=0)


class Line:
    """Calls that end when the test triggers them."""

    def __init__(self) -> None:
        self.prefix = "line"
        self.under_way: list[AsyncCall] = []
        self.most = 0
        self.ended: list[CallResult] = []
        self.closed = False

    def line(self, step: str, function: Callable[..., Any], options: AsyncCallOptions) -> Line:
        return self

    def start(self, calls: Iterable[AsyncCall]) -> None:
        self.under_way += calls
        self.most = max(self.most, len(self.under_way))

    def answers(self) -> list[CallResult]:
        found, self.ended = self.ended, []
        return found

    def close(self) -> None:
        self.closed = True

    def end(self, place: int, error: BaseException | None = None) -> None:
        call = self.under_way.pop(place % len(self.under_way))
        self.ended.append(CallResult(call.number, None if error else call.value * 10, error))


class Bench:
    """A step, its store and its calls."""

    def __init__(self, *, in_flight: int = 3, ordered: bool = True) -> None:
        self.store = MemoryStore()
        self.cache = StateCache(self.store, "s", pending_codec(auto, auto))
        self._make = partial(AsyncMap, "s", self.cache, str, auto, OPTIONS, in_flight=in_flight, ordered=ordered)
        self.build()

    def build(self) -> None:
        self.line = Line()
        self.step = self._make()
        self.step.attach(self.line)

    def commit(self) -> int:
        """How many entries were written."""
        changes = self.cache.drain()
        self.store.apply(changes, Position())
        self.cache.complete_commit()
        return len(changes)

    def crash(self) -> None:
        self.cache.discard()
        self.build()


def records(*values: int) -> list[Any]:
    return [tm.Record(f"k{value}", value, value, (("h", b"1"),), value) for value in values]


def values(results: list[Any]) -> list[int]:
    return [result.value for result in results]


@given(
    ordered=st.booleans(),
    in_flight=st.integers(1, 4),
    steps=st.lists(st.sampled_from(["in", "end", "collect", "commit", "rebuild"]) | st.integers(0, 5), max_size=60),
)
def test_each_record_has_its_result_once(ordered: bool, in_flight: int, steps: list[Any]) -> None:
    bench = Bench(in_flight=in_flight, ordered=ordered)
    sent: list[int] = []
    got: list[Any] = []
    for step in steps:
        match step:
            case "in":
                batch = [len(sent), len(sent) + 1]
                sent += batch
                assert bench.step.process(records(*batch), 0) == []
            case "collect":
                got += bench.step.collect(0)
            case "commit":
                bench.commit()
            case "rebuild":
                bench.commit()
                bench.build()
            case place if bench.line.under_way:
                bench.line.end(0 if place == "end" else place)
        assert bench.line.most <= in_flight
        assert bench.step.waiting == len(sent) - len(got)
    while bench.step.waiting:
        while bench.line.under_way:
            bench.line.end(-1)
        got += bench.step.collect(0)
    assert sorted(values(got)) == [value * 10 for value in sent]
    assert not ordered or values(got) == [value * 10 for value in sent]
    assert {(r.key, r.timestamp, r.headers, r.offset) for r in got} == {
        (f"k{value}", value, (("h", b"1"),), value) for value in sent
    }
    bench.commit()
    assert list(bench.store.scan("s", b"", None)) == []


def test_what_is_done_within_a_commit_writes_nothing() -> None:
    bench = Bench()
    bench.step.process(records(1, 2), 0)
    bench.line.end(0)
    bench.line.end(0)
    assert values(bench.step.collect(0)) == [10, 20]
    assert bench.commit() == 0


def test_after_a_crash_what_was_committed_as_waiting_is_called_again() -> None:
    bench = Bench(in_flight=10)
    bench.step.process(records(1, 2), 0)
    bench.commit()
    bench.line.end(0)
    assert values(bench.step.collect(0)) == [10]
    bench.step.process(records(3), 0)
    bench.crash()
    assert [call.value for call in bench.line.under_way] == [1, 2]


def test_results_in_order_wait_for_those_before_them() -> None:
    bench = Bench()
    bench.step.process(records(1, 2, 3), 0)
    bench.line.end(2)
    bench.line.end(1)
    assert bench.step.collect(0) == []
    bench.line.end(0)
    assert values(bench.step.collect(0)) == [10, 20, 30]


def test_results_without_order_come_as_they_are_there() -> None:
    bench = Bench(ordered=False)
    bench.step.process(records(1, 2, 3), 0)
    bench.line.end(2)
    bench.line.end(0)
    assert values(bench.step.collect(0)) == [30, 10]


def test_a_call_that_fails_is_reported_in_order_and_the_others_continue() -> None:
    bench = Bench()
    bench.step.process(records(1, 2, 3), 0)
    bench.line.end(1, ValueError("2"))
    assert bench.step.collect(0) == []
    bench.line.end(1)
    bench.line.end(0)
    with pytest.raises(RecordError) as failure:
        bench.step.collect(0)
    assert values(failure.value.done) == [10]
    assert (failure.value.record.value, str(failure.value.__cause__)) == (2, "2")
    assert values(bench.step.collect(0)) == [30]
    assert bench.step.waiting == 0


def test_room_shrinks_with_what_waits() -> None:
    bench = Bench(in_flight=3)
    assert bench.step.room == 6
    bench.step.process(records(*range(7)), 0)
    assert bench.step.room == -1
    assert len(bench.line.under_way) == 3


async def nothing(_value: Any) -> None: ...


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"function": len}, "takes a coroutine function"),
        ({"function": partial(max, 1)}, "takes a coroutine function"),
        ({"function": 3}, "takes a function"),
        ({"in_flight": 0}, "in_flight"),
        ({"in_flight": True}, "in_flight"),
        ({"retries": -1}, "retries"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "soon"}, "timeout"),
        ({"backoff": -1}, "backoff"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], complaint: str) -> None:
    function = options.pop("function", nothing)
    with pytest.raises(TopologyError, match=complaint):
        tm.App("t").stream("a").map_async(function, **options)


def test_the_driver_waits_for_running_calls() -> None:
    async def shout(value: str) -> str:
        return value.upper()

    app = tm.App("t")
    app.stream("a", key=tm.utf8, value=tm.utf8).map_async(shout).named("shout").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", "hello", 7, headers=(("h", b"1"),))
        assert driver.read("out") == [tm.Record("k", "HELLO", 7, (("h", b"1"),))]
        assert len(driver.store("shout")) == 0


def test_the_policy_is_for_calls_too() -> None:
    async def inverse(value: float) -> float:
        return 1 / value

    app = tm.App("t", on_error=tm.skip)
    app.stream("a", value=tm.json).map_async(inverse).named("inverse").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for value in (1, 0, 2):
            driver.send("a", None, value)
        assert [record.value for record in driver.read("out")] == [1, 0.5]
        assert driver.dropped == {("inverse", "error"): 1}
    app = tm.App("t")
    app.stream("a", value=tm.json).map_async(inverse).named("inverse").to("out")
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(RecordError, match=r"inverse.*division by zero"):
        driver.send("a", None, 0)
