"""Tests of `map_batch`: the size of batches, which record is the cause of a failure, and how long batches wait."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tidemill.operators.errors import RecordError, TopologyError
from tidemill.operators.stateless.batch_map import BatchMap, WaitingBatchMap, results_of
from tidemill.operators.stateless.pending import pending_codec
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore


class Model:
    """Record the arguments of calls; fail for lists with an invalid value."""

    def __init__(self, *poison: int) -> None:
        self.poison = set(poison)
        self.calls: list[list[int]] = []

    def __call__(self, values: list[int]) -> list[int]:
        self.calls.append(values)
        if self.poison & set(values):
            raise ValueError("poison")
        return [value * 10 for value in values]


def records(*values: int) -> list[Any]:
    return [tm.Record(None, value, value, (), value) for value in values]


def values(results: list[Any]) -> list[int]:
    return [result.value for result in results]


@given(st.integers(0, 40), st.integers(1, 10), st.sets(st.integers(0, 39)))
def test_each_value_has_its_result_and_each_invalid_one_is_found(size: int, most: int, poison: set[int]) -> None:
    step = BatchMap("s", Model(*poison), most)
    rest, got, failed = records(*range(size)), [], []
    while True:
        try:
            got += step.process(rest, 0)
            break
        except RecordError as error:
            got += error.done
            failed.append(error.record.value)
            rest = rest[error.index + 1 :]
    assert values(got) == [value * 10 for value in range(size) if value not in poison]
    assert failed == [value for value in range(size) if value in poison]


def test_batches_are_as_big_as_they_may_be() -> None:
    model = Model()
    BatchMap("s", model, 4).process(records(*range(10)), 0)
    assert model.calls == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_one_invalid_value_among_many_costs_few_calls() -> None:
    model = Model(700)
    results, error = results_of("s", model, list(range(1024)))
    assert (len(results), str(error)) == (700, "poison")
    assert len(model.calls) <= 21


@pytest.mark.parametrize("answer", [[], [1], [1, 2, 3]])
def test_a_function_that_gives_another_number_of_results_is_wrong(answer: list[int]) -> None:
    app = tm.App("t", on_error=tm.skip)
    app.stream("a", value=tm.json).map_batch(lambda _values: answer).named("model").to("out")
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(TopologyError, match=r"'model'.* for 2 values"):
        driver.send_all("a", [tm.Record(None, 1, 1), tm.Record(None, 2, 2)])


def test_an_array_is_a_list_of_its_plain_values() -> None:
    class Array:
        def tolist(self) -> list[float]:
            return [0.5, 1.5]

    assert results_of("s", lambda _values: Array(), [1, 2]) == ([0.5, 1.5], None)


def test_a_batch_waits_to_fill_up_but_not_forever() -> None:
    model = Model()
    app = tm.App("t")
    app.stream("a", value=tm.json).map_batch(model, max_size=3, max_wait="1s").named("model").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for value in (1, 2):
            driver.send("a", None, value)
        driver.advance_wall_clock("999ms")
        assert driver.read("out") == []
        driver.advance_wall_clock("1ms")
        assert [record.value for record in driver.read("out")] == [10, 20]
        for value in (3, 4, 5, 6):
            driver.send("a", None, value)
        assert [record.value for record in driver.read("out")] == [30, 40, 50]
        driver.advance_wall_clock("1s")
        assert [record.value for record in driver.read("out")] == [60]
    assert model.calls == [[1, 2], [3, 4, 5], [6]]


@given(st.lists(st.tuples(st.integers(0, 1_500), st.integers(0, 3)), max_size=20), st.booleans())
def test_a_record_waits_as_long_as_it_may_and_no_shorter(moves: list[tuple[int, int]], quiet: bool) -> None:
    """The wait is that of the oldest record in the batch: a time in which nothing waited does not count."""
    sent: list[list[int]] = []
    waiting: list[int] = []
    now = 0

    def model(values: list[int]) -> list[int]:
        sent.append(values)
        return values

    cache = StateCache(MemoryStore(), "s", pending_codec(tm.json, tm.json))
    step = WaitingBatchMap("s", cache, model, tm.json, 4, 1_000)
    for after, count in [(60_000 * quiet, 0), *moves, (1_000, 0)]:
        now += after
        step.tick(now)
        if waiting and now - waiting[0] >= 1_000:
            assert sent.pop() == waiting
            waiting = []
        assert sent == []
        for _ in range(count):
            step.process([tm.Record(None, now, now)], now)
            waiting.append(now)
            if len(waiting) == 4:
                assert sent.pop() == waiting
                waiting = []
    assert waiting == []


def test_a_batch_that_waited_and_fails_goes_by_the_policy() -> None:
    app = tm.App("t", on_error=tm.skip)
    app.stream("a", value=tm.json).map_batch(Model(2), max_size=9, max_wait="1s").named("model").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for value in (1, 2, 3):
            driver.send("a", None, value)
        driver.advance_wall_clock("1s")
        driver.advance_wall_clock("1s")
        assert [record.value for record in driver.read("out")] == [10, 30]
        assert driver.dropped == {("model", "error"): 1}


async def coroutine(values: list[int]) -> list[int]:
    return values


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"function": coroutine}, "map_async"),
        ({"function": 3}, "takes a function"),
        ({"max_size": 0}, "max_size"),
        ({"max_wait": "soon"}, "max_wait"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, Any], complaint: str) -> None:
    function = options.pop("function", list)
    with pytest.raises(TopologyError, match=complaint):
        tm.App("t").stream("a").map_batch(function, **options)


class Fickle:
    """A serde that cannot read everything that it writes."""

    def encode(self, value: Any) -> bytes:
        return bytes([value])

    def decode(self, data: bytes) -> int:
        if data == b"\x02":
            raise ValueError("2")
        return data[0]


@pytest.mark.parametrize("kind", ["map_batch", "map_async"])
def test_what_cannot_be_read_again_goes_by_the_policy(kind: str) -> None:
    async def called(value: int) -> int:
        return value * 10

    app = tm.App("k", on_error=tm.skip)
    fickle: Any = Fickle()
    numbers = app.stream("in", key=tm.utf8, value=tm.json).map(lambda value: value, value=fickle)
    if kind == "map_batch":
        made = numbers.map_batch(lambda values: [value * 10 for value in values], max_size=2, max_wait="1s")
    else:
        made = numbers.map_async(called)
    made.named("step").to("out", value=tm.json)
    with tm.testing.TopologyDriver(app) as driver:
        for value in range(5):
            driver.send("in", "k", value)
        driver.advance_wall_clock("1s")
        assert [record.value for record in driver.read("out")] == [0, 10, 30, 40]
        assert driver.dropped == {("step", "error"): 1}


@pytest.mark.parametrize("kind", ["map_batch", "map_async"])
def test_a_value_that_waits_is_what_it_is_after_a_restart(kind: str) -> None:
    async def named(value: Any) -> str:
        return type(value).__name__

    app = tm.App("k")
    views = app.stream("in", key=tm.utf8, value=tm.raw).map(memoryview)
    if kind == "map_batch":
        made = views.map_batch(lambda values: [type(one).__name__ for one in values], max_size=2, max_wait="1s")
    else:
        made = views.map_async(named)
    made.to("out", value=tm.utf8)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", b"1")
        driver.advance_wall_clock("1s")
        assert [record.value for record in driver.read("out")] == ["bytes"]


def test_results_that_are_views_go_to_several_steps() -> None:
    app = tm.App("k")
    views = app.stream("in", key=tm.utf8, value=tm.raw).map_batch(
        lambda values: [memoryview(bytearray(value)) for value in values], max_size=2, max_wait="1s"
    )
    views.map(bytes).to("out", value=tm.raw)
    views.map(len).to("lengths", value=tm.int64)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", b"12")
        driver.advance_wall_clock("1s")
        assert [record.value for record in driver.read("out")] == [b"12"]
        assert [record.value for record in driver.read("lengths")] == [2]


def test_results_that_waited_meet_others_in_the_same_place_however_the_input_is_cut() -> None:
    def met(*sizes: int) -> list[Any]:
        app = tm.App("k")
        numbers = app.stream("in", key=tm.utf8, value=tm.json)
        numbers.merge(numbers.map_batch(Model(), max_size=3, max_wait="1s")).to("out")
        sent = [tm.Record("k", value, value) for value in range(6)]
        with tm.testing.TopologyDriver(app) as driver:
            for size in sizes:
                driver.send_all("in", sent[:size])
                del sent[:size]
            return [record.value for record in driver.read("out")]

    assert met(6) == met(1, 1, 1, 1, 1, 1) == met(2, 4) == [0, 1, 2, 0, 10, 20, 3, 4, 5, 30, 40, 50]
