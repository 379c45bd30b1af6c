"""Tests of event times: from the record, set within a program, and from wrong clocks or units."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.graph.codecs import Decoder
from tidemill.operators.record import Batch, Headers
from tidemill.operators.stateless.stateless import WithTimestamp
from tidemill.operators.time.event_time import LATEST, TimeFunction

HOUR = 3_600_000
NOW = 1_750_000_000_000


def batch(*times: int, headers: list[Headers] | None = None) -> Batch:
    places = range(len(times))
    return Batch(
        "t", 3, [b"k"] * len(times), [b"%d" % i for i in places], list(times), [7 + i for i in places], headers, 0
    )


def with_timestamp(function: TimeFunction, *values: Any) -> tuple[WithTimestamp, list[tm.Record[Any, Any]]]:
    step = WithTimestamp("s", function)
    return step, step.process([tm.Record("k", value, 5, (("h", b"9"),), 10 + i) for i, value in enumerate(values)], 0)


def test_a_source_takes_it_from_the_whole_record() -> None:
    seen: list[Any] = []

    def function(record: tm.SourceRecord[str, int]) -> int:
        seen.append(record)
        return int(dict(record.headers)["at"] or 0) if record.headers else record.timestamp * 1_000

    decoder = Decoder("s", tm.utf8, tm.json, tm.from_record(function))
    records = decoder.decode(batch(20, 30, headers=[(("at", b"77"),), ()]), NOW)
    assert [record.timestamp for record in records] == [77, 30_000]
    assert {type(record) for record in records} == {tm.Record}
    assert seen == [
        tm.SourceRecord("k", 0, 20, (("at", b"77"),), 7, "t", 3),
        tm.SourceRecord("k", 1, 30, (), 8, "t", 3),
    ]
    assert [record.timestamp for record in decoder.decode(batch(40), NOW)] == [40_000]


def test_a_function_that_fails_for_a_record_is_an_error_of_that_record() -> None:
    decoder = Decoder("s", tm.utf8, tm.json, tm.from_record(lambda record: 1 // (record.offset - 8)))
    with pytest.raises(tm.RecordError) as caught:
        decoder.decode(batch(20, 30, 40), NOW)
    assert (caught.value.index, caught.value.counted, len(caught.value.done)) == (1, "undecodable", 0)


@pytest.mark.parametrize("make", ["stream", "table", "global_table"])
def test_what_is_no_timestamp_function_is_refused_at_once(make: str) -> None:
    app: Any = tm.App("test")

    async def later(value: Any) -> int:
        return 1

    for wrong in (5, "at", tm.from_record(later), later):
        with pytest.raises(tm.TopologyError, match=r"timestamp= takes a plain function of the value, or tm"):
            getattr(app, make)("in", timestamp=wrong)
    with pytest.raises(tm.TopologyError, match=r".with_timestamp\(\) takes a plain function"):
        app.stream("in").with_timestamp(None)


# within a program


def test_with_timestamp_changes_nothing_but_the_time() -> None:
    _, records = with_timestamp(lambda value: value * 2, 40)
    assert records == [tm.Record("k", 40, 80, (("h", b"9"),), 10)]
    _, records = with_timestamp(tm.from_record(lambda record: record.timestamp + int(record.headers[0][1] or 0)), 40)
    assert [record.timestamp for record in records] == [14]


def test_with_timestamp_takes_what_a_source_takes() -> None:
    moment = datetime(1970, 1, 1, 0, 0, 1, tzinfo=timezone.utc)
    step, records = with_timestamp(lambda value: value, moment, None, -5, 0, LATEST)
    assert [record.timestamp for record in records] == [1_000, 0, LATEST]
    assert step.drops == {"negative timestamp": 2}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (1_750_000_000.5, "of seconds, int(seconds * 1000)"),
        (True, "a bool"),
        ("9", "a str"),
        (datetime(2024, 1, 1), "no time zone"),  # noqa: DTZ001
        (LATEST + 1, "divide microseconds by 1,000"),
        (NOW * 1_000_000, "divide nanoseconds by 1,000,000"),
    ],
)
def test_what_is_no_event_time_is_an_error_of_that_record(given: Any, reason: str) -> None:
    with pytest.raises(tm.RecordError) as caught:
        with_timestamp(lambda value: value, 1, given, 2)
    assert (caught.value.index, [record.timestamp for record in caught.value.done]) == (1, [1])
    assert reason in str(caught.value.__cause__)


# clocks that are wrong


def test_a_record_that_is_ahead_of_the_clock_is_an_error() -> None:
    decoder = Decoder("s", tm.utf8, tm.json, max_ahead=HOUR)
    with pytest.raises(tm.RecordError) as caught:
        decoder.decode(batch(NOW + HOUR, NOW + 10 * HOUR + 1, 5), NOW)
    error = caught.value
    assert (error.index, error.doing, error.counted) == (1, "take", "ahead of the clock")
    assert [record.timestamp for record in error.done] == [NOW + HOUR]
    assert error.reason == (
        "its event time, 2025-06-16T01:06:40Z, is 10h1m ahead of the wall clock, which says 2025-06-15T15:06:40Z, and "
        "max_ahead='1h' allows less. Correct the clock that is wrong, or drop such records with .on_error(tm.skip) on "
        "the source"
    )


def test_the_time_that_counts_is_the_event_time() -> None:
    decoder = Decoder("s", tm.utf8, tm.json, lambda value: value, max_ahead=0)
    assert len(decoder.decode(batch(NOW + HOUR), NOW)) == 1


def test_where_the_partitions_time_is_given_it_is_given_for_clocks_ahead_too() -> None:
    decoder = Decoder("s", tm.utf8, tm.json, partition_time=True, max_ahead=HOUR)
    with pytest.raises(tm.RecordError, match="ahead of the wall clock"):  # there is no time of the partition yet
        decoder.decode(batch(NOW + 2 * HOUR), NOW)
    records = decoder.decode(batch(NOW, NOW + 2 * HOUR, NOW - 5, -1), NOW)
    assert [record.timestamp for record in records] == [NOW, NOW, NOW - 5, NOW]
    assert decoder.newest == NOW


# units that are wrong


def test_a_time_that_looks_like_seconds_is_reported() -> None:
    decoder = Decoder("s", tm.utf8, tm.json, lambda value: 1_750_000_000 + value)
    assert len(decoder.decode(batch(1, 2), NOW)) == 2
    assert decoder.doubt == (
        "the timestamp function gave 1750000000, which is 1970-01-21T06:06:40Z in milliseconds, the unit of event "
        "time, and 2025-06-15T15:06:40Z in seconds. If it is seconds, multiply by 1,000"
    )
    decoder = Decoder("s", tm.utf8, tm.json)
    decoder.decode(batch(1_750_000_000), NOW)
    assert decoder.doubt is not None
    assert decoder.doubt.startswith("Kafka's timestamp of a record is 1750000000")
    step, _ = with_timestamp(lambda value: value, NOW, 1_750_000_000)
    assert step.doubt is not None


@pytest.mark.parametrize("time", [0, 5_000, 99_999_999, 10_000_000_000, NOW, LATEST])
def test_others_are_not(time: int) -> None:
    decoder = Decoder("s", tm.utf8, tm.json)
    decoder.decode(batch(time), NOW)
    step, _ = with_timestamp(lambda value: value, time)
    assert (decoder.doubt, step.doubt) == (None, None)
