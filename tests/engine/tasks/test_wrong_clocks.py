"""End-to-end tests of records with wrong timestamps, and of timestamps that are set within a program."""

from __future__ import annotations

import logging
from typing import Any

import pytest

import tidemill as tm
from tidemill.operators.graph.output_checks import given_headers

NOW = 1_750_000_000_000
MINUTE = 60_000
BASE = NOW // MINUTE * MINUTE
FAR = 2_082_758_400_000
"""The first day of 2036."""


def minutes(app: tm.App, on_error: tm.ErrorPolicy, **source: Any) -> None:
    mark = tm.bounded("5s", idle="30s", max_ahead="1h")
    readings = app.stream("in", key=tm.utf8, value=tm.json, watermark=mark, **source).on_error(on_error)
    readings.group_by_key().window(tm.tumbling("1m")).emit("close").aggregate(all=tm.collect()).named("w").to("out")


def results(driver: tm.testing.TopologyDriver) -> list[tuple[int, Any]]:
    return [(record.key.start - BASE, record.value["all"]) for record in driver.read("out")]


def test_one_record_of_the_future_closes_no_window() -> None:
    app = tm.App("test")
    minutes(app, tm.skip)
    with tm.testing.TopologyDriver(app, now=NOW) as driver:
        driver.send("in", "k", 1, BASE + 1_000)
        driver.send("in", "k", 2, FAR)
        driver.send("in", "k", 3, BASE + 2_000)
        driver.send("in", "k", 4, BASE + MINUTE + 5_000)
        assert results(driver) == [(0, [1, 3])]
        assert driver.dropped == {("in", "ahead of the clock"): 1}


def test_without_it_all_is_late() -> None:
    """The purpose of the bound."""
    app = tm.App("test")
    source = app.stream("in", key=tm.utf8, value=tm.json, watermark=tm.bounded("5s"))
    source.group_by_key().window(tm.tumbling("1m")).emit("close").aggregate(all=tm.collect()).named("w").to("out")
    with tm.testing.TopologyDriver(app, now=NOW) as driver:
        for value, time in enumerate((BASE + 1_000, FAR, BASE + 2_000)):
            driver.send("in", "k", value, time)
        assert (results(driver), driver.dropped) == ([(0, [0])], {("w", "late"): 1})


def test_by_default_it_stops_the_program_at_that_record() -> None:
    app = tm.App("test")
    minutes(app, tm.fail)
    with tm.testing.TopologyDriver(app, now=NOW) as driver:
        driver.send("in", "k", 1, NOW + 3_600_000)
        with pytest.raises(tm.RecordError) as caught:
            driver.send("in", "k", 2, FAR)
    assert "step 'in' of task 0_0 could not take a record: its event time, 2036-01-01T00:00:00Z" in str(caught.value)
    assert "topic 'in', partition 0, offset 1" in str(caught.value)


def test_the_clock_that_counts_is_the_drivers() -> None:
    app = tm.App("test")
    minutes(app, tm.fail)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", 1)  # without a timestamp it gets the time of the clock
        with pytest.raises(tm.RecordError, match="1970-01-01T00:00:00Z"):
            driver.send("in", "k", 1, NOW)
    with tm.testing.TopologyDriver(app, now=NOW - 3_700_000) as driver:
        driver.advance_wall_clock("100s")
        driver.send("in", "k", 1, NOW)


def test_a_record_that_is_read_again_is_judged_by_the_clock_then() -> None:
    """It was refused, this was not committed, and meanwhile its time is no longer in the future."""
    app = tm.App("test")
    minutes(app, tm.skip)
    with tm.testing.TopologyDriver(app, now=NOW) as driver:
        driver.send("in", "k", 1, BASE)
        [task] = driver._tasks.values()
        batches: list[Any] = []
        offer = task.offer
        task.offer = lambda batch, now: (batches.append(batch), offer(batch, now))[1]
        driver._deliver("in", [(b"k", b"2", NOW + 7_200_000, None, -1)])
        driver._pump()
        assert task.discard() == {("in", 0): 1}
        driver.clock.advance(7_200_000)
        offer(batches[0], driver.clock.now())
        task.caught_up(("in", 0), True)
        driver._pump()
        driver._commit()
        assert task.stream_time == NOW + 7_200_000
        assert task.committed() == {("in", 0): 2}


def test_timestamps_in_seconds_are_reported_once_per_source(caplog: pytest.LogCaptureFixture) -> None:
    app = tm.App("test")
    for topic in "ab":
        app.stream(topic, key=tm.utf8, value=tm.json, timestamp=lambda value: value["at"]).to("out")
    timed = app.stream("c", key=tm.utf8, value=tm.json).with_timestamp(lambda value: value["at"]).named("timed")
    timed.repartition().named("again").to("out")
    app.global_table("g", key=tm.utf8, value=tm.json, timestamp=lambda value: value["at"])
    with caplog.at_level(logging.WARNING, "tidemill"), tm.testing.TopologyDriver(app, partitions=2) as driver:
        for topic in "aabcg":
            for key in "klmn":
                driver.send(topic, key, {"at": 1_750_000_000}, NOW)
    steps = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert sorted(steps) == ["step 'a'", "step 'b'", "step 'g'", "step 'timed'"]


def test_a_time_from_headers_in_a_table_with_a_history() -> None:
    app = tm.App("test")

    def of(record: tm.SourceRecord[str, Any]) -> int:
        return int(dict(record.headers)["at"] or 0)

    rows = app.table("rows", key=tm.utf8, value=tm.json, timestamp=tm.from_record(of), history="1h")
    stream = app.stream("in", key=tm.utf8, value=tm.json)
    stream.join(rows, lambda left, right: [left, right], as_of=True).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for value, at in (("new", 5_000), ("old", 1_000)):
            driver.send("rows", "k", value, 9_000, tuple(given_headers({"at": str(at)})))
        driver.send("in", "k", 1, 4_000)
        driver.send("in", "k", 2, 6_000)
        assert [record.value for record in driver.read("out")] == [[1, "old"], [2, "new"]]


# within the program


def timed(app: tm.App, **source: Any) -> tm.Stream[str, Any]:
    return app.stream("in", key=tm.utf8, value=tm.json, **source).with_timestamp(lambda value: value["at"])


def test_with_timestamp_keeps_the_key_and_moves_stream_time() -> None:
    app = tm.App("test")
    stream = timed(app)
    stream.group_by_key().window(tm.tumbling(10)).emit("close").count().named("w").to("out")
    stream.to("records", value=tm.json)
    with tm.testing.TopologyDriver(app, partitions=3) as driver:
        assert len(driver.plan.subtopologies) == 1  # no repartition
        for at in (3, 5, None, 25, 4):
            driver.send("in", "k", {"at": at}, 1_000)
        assert [(record.key.start, record.value, record.timestamp) for record in driver.read("out")] == [(0, 2, 5)]
        assert [record.timestamp for record in driver.read("records")] == [3, 5, 25, 4]
        assert driver.dropped == {("in-with_timestamp", "negative timestamp"): 1, ("w", "late"): 1}


@pytest.mark.parametrize("repartitioned", [False, True])
def test_time_stays_the_sources_where_they_have_watermarks(repartitioned: bool) -> None:
    app = tm.App("test")
    stream = timed(app, watermark=tm.bounded(0))
    grouped = stream.group_by(lambda value: "g", key=tm.utf8) if repartitioned else stream.group_by_key()
    grouped.window(tm.tumbling(10)).emit("close").count().named("w").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("in", "k", {"at": 500}, 1)  # newer than time: it does not move it
        driver.send("in", "k", {"at": 2}, 2)  # so that this one is in time
        assert driver.read("out") == []
        driver.send("in", "k", {"at": 3}, 30)
        assert [(record.key.start, record.value) for record in driver.read("out")] == [(0, 2)]
        driver.send("in", "k", {"at": 4}, 31)  # older than time: late
        assert driver.dropped == {("w", "late"): 1}
        driver.send("in", "k", {"at": 600}, 600)
        assert [(record.key.start, record.value) for record in driver.read("out")] == [(500, 1)]


def test_a_result_that_is_no_time_obeys_the_policy_of_the_step() -> None:
    app = tm.App("test")
    timed(app).on_error(tm.skip).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for at in (1.5, 7, 10**17):
            driver.send("in", "k", {"at": at})
        assert [record.timestamp for record in driver.read("out")] == [7]
        assert driver.dropped == {("in-with_timestamp", "error"): 2}


def test_tables_have_no_such_step() -> None:
    assert not hasattr(tm.Table, "with_timestamp")
