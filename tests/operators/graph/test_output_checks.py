"""Tests of timestamps, headers, partitions and topics from user functions: valid in Kafka, or a record error."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped
from tidemill.operators.errors import raise_record_error
from tidemill.operators.time.event_time import LATEST

Stream = tm.Stream[str, Any]


def driver(build: Callable[[Stream], object], **options: Any) -> tm.testing.TopologyDriver:
    app = tm.App("test", **options)
    build(app.stream("a", key=tm.utf8, value=tm.json))
    return tm.testing.TopologyDriver(app)


class Giving(tm.Processor[str, Any, Any]):
    """Emit the configured output from a recurring method."""

    def __init__(self, timestamp: Any, headers: Any) -> None:
        self.given = timestamp, headers

    def process(self, value: Any, ctx: tm.Context[str]) -> None:
        return None

    @tm.every("1s")
    def give(self, ctx: tm.Context[str]) -> Iterator[Any]:
        timestamp, headers = self.given
        yield tm.Record("k", 1, timestamp, headers)


times: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 10),
    st.sampled_from([None, -1, 1.5, True, LATEST, LATEST + 1, 2**63, 2**64, "5", float("nan")]),
)
contents: st.SearchStrategy[Any] = st.sampled_from(
    [b"x", "text", None, 3, True, [1, 2], 1.5, bytearray(b"y"), object()]
)
headers: st.SearchStrategy[Any] = st.one_of(
    st.lists(st.tuples(st.sampled_from(["n", "", 1, None, b"n"]), contents), max_size=2).map(tuple),
    st.sampled_from([{"a": "b"}, {"a": 1}, (), None, 5, ("no pair",)]),
)
partitions: st.SearchStrategy[Any] = st.sampled_from([0, 2, -1, None, 1.0, "1", True, 2**40])
topics: st.SearchStrategy[Any] = st.sampled_from(["good", "b a d", "", None, 5, ".", "x" * 250, "ünter", b"good"])


@examples(150)
@given(times, headers, partitions, topics, st.sampled_from(["map_record", "flat_map_record", "every", "to"]))
def test_what_is_written_is_legal(timestamp: Any, header: Any, partition: Any, topic: Any, way: str) -> None:
    """Each way gives one odd thing or several; what is refused is one error of one step."""

    def build(stream: Stream) -> None:
        if way == "map_record":
            stream.map_record(lambda r: tm.Record("k", 1, timestamp, header)).to("good", key=tm.utf8)
        elif way == "flat_map_record":
            stream.flat_map_record(lambda r: [tm.Record("k", 1, timestamp, header)]).to("good", key=tm.utf8)
        elif way == "every":
            stream.process(Giving, timestamp, header).named("p").to("good", key=tm.utf8)
        else:
            stream.to(lambda r: topic, headers=lambda r: header, partition=lambda r: partition)

    with driver(build, on_error=tm.skip) as running:
        running.send("a", "k", 1, 5)
        written = [(name, row) for name, rows in running._topics.written.items() for row in rows]
        assert len(written) + sum(running.dropped.values()) == 1
        for name, (_, _, time, head, number) in written:
            assert re.fullmatch(r"[A-Za-z0-9._-]{1,249}", name)
            assert type(time) is int
            assert 0 <= time <= LATEST
            assert isinstance(number, bytes) or number >= -1
            for label, content in head or ():
                assert isinstance(label, str)
                assert content is None or isinstance(content, bytes)


async def coroutine(value: Any) -> Any:
    return value


async def several(value: Any) -> Any:
    yield value


class Asking:
    async def __call__(self, value: Any) -> Any:
        return value


@pytest.mark.parametrize("function", [coroutine, several, Asking(), partial(coroutine)])
@pytest.mark.parametrize(
    "step",
    [
        lambda s, f: s.filter(f),
        lambda s, f: s.map(f),
        lambda s, f: s.flat_map(f),
        lambda s, f: s.map_record(f),
        lambda s, f: s.flat_map_record(f),
        lambda s, f: s.with_key(f),
        lambda s, f: s.peek(f),
        lambda s, f: s.split(one=f),
        lambda s, f: s.sink(f),
        lambda s, f: s.sink_record(f),
        lambda s, f: s.group_by(f),
        lambda s, f: s.group_by_key().reduce(f),
        lambda s, f: s.group_by_key().aggregate(list, f),
        lambda s, f: s.group_by_key().aggregate(n=tm.sum(f)),
        lambda s, f: s.map_batch(f),
        lambda s, f: s.deduplicate("1s", by=f),
        lambda s, f: s.join(s, f, within="1s"),
        lambda s, f: s.to("out", headers=f),
        lambda s, f: s.to_table().filter(f),
        lambda s, f: s.to_table().map(f),
        lambda s, f: s.to_table().join(s.to_table(), f),
    ],
)
def test_a_coroutine_function_is_refused_where_it_is_not_awaited(step: Any, function: Any) -> None:
    stream = tm.App("test").stream("a", key=tm.utf8, value=tm.json)
    with pytest.raises(tm.TopologyError, match="coroutine function"):
        step(stream, function)


def test_a_processor_with_a_coroutine_function_is_refused() -> None:
    class Asynchronous(tm.Processor[str, Any, Any]):
        async def process(self, value: Any, ctx: Any) -> None:  # type: ignore[override]
            pass

    with pytest.raises(tm.TopologyError, match=r"Asynchronous\.process\(\) is a coroutine function"):
        tm.App("test").stream("a").process(untyped(Asynchronous))


class Yielding(tm.Processor[str, Any, Any]):
    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        yield tm.Record("other", value, ctx.timestamp)


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda s: s.process(Yielding).to("out"), "process() yields values, not records"),
        (lambda s: s.flat_map(lambda v: "abc").to("out"), "'abc' is one"),
        (lambda s: s.with_key(lambda v: v).to("out", key=tm.utf8), "utf8 writes text, not 1, which is of type int"),
        (lambda s: s.map_record(lambda r: tm.Record("k", 1, untyped(None))), "a record with timestamp None"),
        (lambda s: s.to("out", headers=lambda r: {"retry": 3}), "that of 'retry' is 3, of type int"),
        (lambda s: s.to("out", partition=lambda r: -1), "the partition function gave -1"),
        (lambda s: s.to(lambda r: "bad topic!"), "gave 'bad topic!', not the name of a topic"),
    ],
)
def test_messages_name_the_record(build: Any, reason: str) -> None:
    with driver(build) as running, pytest.raises(tm.RecordError) as caught:
        running.send("a", "k", 1, 7)
    assert reason in str(caught.value)
    assert "topic 'a', partition 0, offset 0, timestamp 7" in str(caught.value)


def test_a_value_that_is_not_there_is_called_that() -> None:
    with driver(lambda s: s.map(lambda v: v["x"]).to("out")) as running:
        with pytest.raises(tm.RecordError, match=r"has no value \(a tombstone\): \.filter"):
            running.send("a", "k", None, 7)
        with pytest.raises(tm.RecordError) as caught:
            running.send("a", "k", 5, 7)
    assert "tombstone" not in str(caught.value)


@pytest.mark.parametrize("time", [LATEST + 1, 1_700_000_000_000_000, 2**62, 2**63 - 1, 2**63, 2**70])
def test_no_event_time_is_beyond_the_year_9999(time: int) -> None:
    def build(policy: tm.ErrorPolicy) -> tm.testing.TopologyDriver:
        app = tm.App("test", on_error=policy)
        app.stream("a", key=tm.utf8, value=tm.json, timestamp=lambda v: v).to("out")
        return tm.testing.TopologyDriver(app)

    with build(tm.skip) as running:
        running.send_all("a", [tm.Record("k", at, 0) for at in (5, time, LATEST)])
        assert [record.timestamp for record in running.read("out")] == [5, LATEST]
        assert sum(running.dropped.values()) == 1
    with build(tm.fail) as running, pytest.raises(tm.RecordError, match=f"{time} is beyond the year 9999"):
        running.send("a", "k", time, 0)


def test_watermarks_may_be_beyond_the_last_calendar() -> None:
    app = tm.App("test", on_error=tm.skip)
    source = app.stream("a", key=tm.utf8, value=tm.json, watermark=tm.bounded(0))
    source.group_by_key().window(tm.calendar("week", tz="Europe/Berlin")).emit("close").count().named("w").to("out")
    with tm.testing.TopologyDriver(app) as running:
        for time in (5, LATEST, LATEST, 6):
            running.send("a", "k", 1, time)
        assert [record.value for record in running.read("out")] == [1]
        assert running.dropped == {("w", "error"): 2, ("w", "late"): 1}


@pytest.mark.parametrize(
    ("step", "good"),
    [
        (lambda g: g.aggregate(list, lambda seen, v: seen.append(v)), False),
        (lambda g: g.aggregate(dict, lambda seen, v: seen.update({str(v): v})), False),
        (lambda g: g.aggregate(list, lambda seen, v: None if v == 2 else [*seen, v]), True),
        (lambda g: g.reduce(lambda a, b: None if b == 2 else a + b), True),
        (lambda g: g.window(tm.tumbling("1s")).aggregate(list, lambda seen, v: seen.append(v)), False),
        (lambda g: g.window(tm.session(gap="1s")).aggregate(list, lambda s, v: [*s, v], merge=list.extend), False),
    ],
)
def test_an_accumulator_that_is_changed_is_to_be_returned(step: Any, good: bool) -> None:
    """`list.append` returns None, which would delete the value; None deletes only if nothing was changed."""
    with driver(lambda s: step(s.group_by_key()).named("step").to("out"), on_error=tm.skip) as running:
        for value in (1, 2, 3):
            running.send("a", "k", value, 7)
        assert (running.dropped == {}) is good
    if not good:
        reason = "changed the accumulator in place and gave None"
        with driver(lambda s: step(s.group_by_key())) as running, pytest.raises(tm.RecordError, match=reason):
            running.send_all("a", [tm.Record("k", value, 7) for value in (1, 2)])


async def failing(value: Any) -> Any:
    raise ValueError("away")


@pytest.mark.parametrize(
    "step",
    [
        lambda s: s.map_async(failing, retries=0).to("out"),
        lambda s: s.map_async(coroutine).map(lambda v: 1 // 0).to("out"),
        lambda s: s.map_batch(lambda values: 1 // 0, max_wait="1s").to("out"),
    ],
)
def test_a_record_that_waited_is_named_by_its_topic(step: Any) -> None:
    def wait(running: tm.testing.TopologyDriver) -> None:
        running.send("a", "k", 1, 7)
        running.advance_wall_clock("2s")

    with driver(step) as running, pytest.raises(tm.RecordError, match="topic 'a', partition 0, offset 0,"):
        wait(running)


def test_a_failure_before_the_first_record_is_no_records() -> None:
    def step() -> None:
        rest: Iterator[Any] = iter([])
        try:
            raise RuntimeError("the store")
        except Exception as error:
            raise_record_error(error, "s", [], [], rest)

    with pytest.raises(RuntimeError, match="the store"):
        step()


def test_the_driver_reports_invalid_input() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().count().named("counted")
    with tm.testing.TopologyDriver(app) as running:
        with pytest.raises(TypeError, match=r"topic 'a': the key 5 is not one for its serde, utf8: utf8 writes text"):
            running.send("a", 5, 1)
        with pytest.raises(TypeError, match=r"topic 'a': the timestamp 1\.5 is not an int of milliseconds"):
            running.send("a", "k", 1, untyped(1.5))
        with pytest.raises(KeyError) as caught:
            running.store("nope")
        assert str(caught.value).count("counted") == 1


def test_a_setting_that_there_is_not_is_refused_by_the_driver() -> None:
    app = tm.App("test", **untyped({"comit_interval": "1s"}))
    with pytest.raises(tm.ConfigError, match="there is no such setting; did you mean 'commit_interval'"):
        tm.testing.TopologyDriver(app)
