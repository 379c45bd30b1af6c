"""Tests of the codecs that decode records from bytes and encode them."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.graph.codecs import Decoder, Encoder, RepartitionWriter, SinkWriter
from tidemill.operators.record import Batch, Headers, Outgoing

NOW = 1_000


def batch(values: list[bytes | None], *, times: list[int] | None = None, headers: list[Headers] | None = None) -> Batch:
    count = len(values)
    keys: list[bytes | None] = [f"k{i}".encode() for i in range(count)]
    return Batch("t", 0, keys, values, times or [100 + i for i in range(count)], list(range(count)), headers, 0)


def record(key: Any, value: Any, timestamp: int = 5, offset: int = 7, headers: Headers = ()) -> tm.Record[Any, Any]:
    return tm.Record(key, value, timestamp, headers, offset)


def test_a_batch_becomes_records() -> None:
    decoder = Decoder("s", tm.utf8, tm.json)
    assert decoder.decode(batch([b"1", None], headers=[(("h", b"x"),), ()]), NOW) == [
        tm.Record("k0", 1, 100, (("h", b"x"),), 0),
        tm.Record("k1", None, 101, (), 1),
    ]
    assert decoder.decode(batch([]), NOW) == []


def test_a_record_that_cannot_be_read_is_found_and_what_came_before_is_kept() -> None:
    decoder = Decoder("s", tm.utf8, tm.json)
    with pytest.raises(tm.RecordError) as caught:
        decoder.decode(batch([b"1", b"2", b"{", b"4"]), NOW)
    error = caught.value
    assert (error.step, error.index, error.doing) == ("s", 2, "decode")
    assert error.record == tm.Record(b"k2", b"{", 102, (), 2)
    assert [done.value for done in error.done] == [1, 2]
    assert "truncated" in error.reason


@pytest.mark.parametrize(
    "values", [[b"[1", b",2]", b"3 4"], [b"", b"1 2"], [b"1\n2", b""], [b'{"a":[{}', b"{}]}{}", b"{}"]]
)
def test_values_that_are_json_only_together_are_refused(values: list[bytes | None]) -> None:
    with pytest.raises(tm.RecordError) as caught:
        Decoder("s", tm.utf8, tm.json).decode(batch(values), NOW)
    assert caught.value.index == 0


def test_a_negative_event_time_drops_the_record() -> None:
    decoder = Decoder("s", tm.utf8, tm.json)
    assert [r.offset for r in decoder.decode(batch([b"1", b"2", b"3"], times=[5, -1, 0]), NOW)] == [0, 2]
    assert decoder.drops == {"negative timestamp": 1}


def test_event_time_from_the_value() -> None:
    moment = datetime(1970, 1, 1, 1, 0, 1, 999, tzinfo=timezone(timedelta(hours=1)))
    given: dict[int, Any] = {0: 77, 1: None, 2: moment, 3: -5, 4: 0}
    decoder = Decoder("s", tm.utf8, tm.json, given.__getitem__)
    records = decoder.decode(batch([b"0", b"1", b"2", b"3", b"4"]), NOW)
    assert [(r.value, r.timestamp) for r in records] == [(0, 77), (2, 1000), (4, 0)]
    assert decoder.drops == {"negative timestamp": 2}


@pytest.mark.parametrize(
    ("given", "reason"),
    [(1.5, "a float: event time is an int"), (datetime(2024, 1, 1), "no time zone"), ("9", "a str")],  # noqa: DTZ001
)
def test_what_is_no_event_time_is_an_error_of_that_record(given: Any, reason: str) -> None:
    decoder = Decoder("s", tm.utf8, tm.json, lambda value: given if value == 2 else value)
    with pytest.raises(tm.RecordError) as caught:
        decoder.decode(batch([b"1", b"2"]), NOW)
    assert caught.value.index == 1
    assert reason in str(caught.value.__cause__)


def rows(written: list[Outgoing]) -> list[Outgoing]:
    """What is written, without the records that it was made of; there must be one a row."""
    assert all(len(out.records) == len(out.rows) for out in written)
    return [Outgoing(out.topic, list(out.rows)) for out in written]


def test_records_become_rows() -> None:
    sink = SinkWriter("s", "out", Encoder(tm.utf8, tm.json))
    records = [record("a", [1]), record(None, None, headers=(("h", b"x"),))]
    assert rows(sink.process(records, 0)) == [
        Outgoing("out", [(b"a", b"[1]", 5, None, -1), (None, None, 5, [("h", b"x")], -1)])
    ]


def test_a_record_that_cannot_be_written_is_found_and_what_came_before_is_kept() -> None:
    sink = SinkWriter("s", "out", Encoder(tm.utf8, tm.json))
    with pytest.raises(tm.RecordError) as caught:
        sink.process([record("a", 1), record("b", object()), record("c", 2)], 0)
    assert (caught.value.index, caught.value.doing) == (1, "write")
    assert rows(caught.value.done) == [Outgoing("out", [(b"a", b"1", 5, None, -1)])]


def test_the_topic_partition_and_headers_can_be_chosen() -> None:
    encoder = Encoder(
        tm.utf8, tm.json, partition=lambda r: r.value % 2, headers=lambda r: {"n": str(r.value), "raw": b"\x00"}
    )
    sink = SinkWriter("s", lambda r: f"out-{r.key}", encoder)
    written = sink.process([record("a", 1), record("b", 2), record("a", 3)], 0)
    assert rows(written) == [
        Outgoing(
            "out-a",
            [
                (b"a", b"1", 5, [("n", b"1"), ("raw", b"\x00")], 1),
                (b"a", b"3", 5, [("n", b"3"), ("raw", b"\x00")], 1),
            ],
        ),
        Outgoing("out-b", [(b"b", b"2", 5, [("n", b"2"), ("raw", b"\x00")], 0)]),
    ]


def test_a_topic_function_must_give_a_name() -> None:
    sink = SinkWriter("s", lambda r: r.value, Encoder(tm.utf8, tm.json))
    with pytest.raises(tm.RecordError) as caught:
        sink.process([record("a", "x"), record("a", None)], 0)
    assert caught.value.index == 1
    assert "not the name of a topic" in caught.value.reason


def test_windowed_keys_go_to_the_partition_of_the_key_in_them() -> None:
    app = tm.App("test")
    counts = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.tumbling(10)).count()
    counts.to("plain")
    counts.to("whole", key=tm.json)
    counts.to("inner", key=tm.utf8)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 25)
        start = (20).to_bytes(8, "big")
        assert driver.read_bytes("plain") == [(b"k" + start, b"1", 25, None, b"k")]
        assert driver.read_bytes("inner") == [(b"k" + start, b"1", 25, None, b"k")]
        assert driver.read_bytes("whole") == [(b'{"key":"k","start":20,"end":30}', b"1", 25, None, b"k")]


def test_a_repartition_drops_records_without_a_key() -> None:
    writer = RepartitionWriter("s", Encoder(tm.utf8, tm.json), lambda value: value)
    written = writer.process([record("a", None), record("a", "x")], 0)
    assert rows(written) == [Outgoing("", [(b"x", b'"x"', 5, None, -1)])]
    assert writer.process([record("a", None)], 0) == []
    assert writer.drops == {"null key": 2}


def test_a_grouping_function_that_fails_names_the_record() -> None:
    writer = RepartitionWriter("s", Encoder(tm.utf8, tm.json), lambda value: value["user"])
    with pytest.raises(tm.RecordError) as caught:
        writer.process([record("a", {"user": "u"}), record("a", {}), record("a", {"user": "v"})], 0)
    assert caught.value.index == 1
    assert rows(caught.value.done) == [Outgoing("", [(b"u", b'{"user":"u"}', 5, None, -1)])]


def test_what_a_repartition_writes_it_reads() -> None:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json)
    keyed = stream.map(lambda v: (v, {v: 1})).group_by(lambda v: (v[0], 1.0))
    keyed.reduce(lambda _, new: new).to_stream().map_record(lambda r: tm.Record("k", [str(r.key), str(r.value)], 0)).to(
        "out"
    )
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 5, 3)
        assert [r.value for r in driver.read("out")] == [["(5, 1)", "(5, {5: 1})"]]


@pytest.mark.parametrize(
    "step",
    [
        lambda group: group.count(),
        lambda group: group.window(tm.tumbling(5)).count(),
        lambda group: group.aggregate(n=tm.count()),
    ],
)
def test_a_key_that_can_be_changed_in_place_is_refused_with_advice(step: Any) -> None:
    class Mutable:
        """Return an unhashable key, which cannot be detected before."""

        def encode(self, value: bytearray, /) -> bytes:
            return bytes(value)

        def decode(self, data: bytes, /) -> bytearray:
            return bytearray(data)

    app = tm.App("test")
    step(app.stream("a", key=Mutable(), value=tm.json).group_by_key())
    reason = "the key is a bytearray, which can be changed"
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError, match=reason):
        driver.send("a", bytearray(b"x"), 1, 0)


def test_what_a_store_cannot_keep_is_named() -> None:
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).map(lambda v: {"x": object()})
    stream.group_by_key().aggregate(last=tm.last("x")).named("rows")
    reason = r"step 'rows' .*: a builtins\.object cannot be written"
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError, match=reason):
        driver.send("a", "k", 1, 0)
