"""Tests of logs of dropped records: the first few per step and minute, and the number of others."""

from __future__ import annotations

import logging

import pytest

import tidemill as tm
from tidemill.engine.dropped_records import INTERVAL_MS, SHOWN, DoubtLines, LateLines, SkipLines, SkippedRecords
from tidemill.engine.serve.stats import Stats


def failed(step: str, offset: int) -> tm.RecordError:
    error = tm.RecordError(step, 0, tm.Record("k", "v", 1_000, offset=offset), [])
    error.__cause__ = ValueError("no\nmore")
    return error.at("in", 3, "0_3")


def test_each_record_has_its_place_and_the_reason() -> None:
    [line] = SkipLines().lines([failed("parse", 7)], 0)
    assert line == (
        "step 'parse' of task 0_3 skipped a record that it could not process: ValueError: no (the record: topic 'in', "
        "partition 3, offset 7, timestamp 1000, key 'k')"
    )


def test_a_flood_is_a_few_lines_a_minute_for_each_step() -> None:
    skips, lines = SkippedRecords(), SkipLines()
    told: list[list[str]] = []
    for now in range(0, 3 * INTERVAL_MS, INTERVAL_MS // 2):
        for offset in range(1_000):
            skips.add("a", "error", failed("a", offset))
        skips.add("b", "error", failed("b", now))
        told.append(lines.lines(skips.take(), now))
    assert [sum("step 'a'" in line for line in it) for it in told] == [SHOWN + 1, 0] * 3
    assert [sum("step 'b'" in line for line in it) for it in told] == [1] * 6
    assert "skips more records: they are counted (tidemill_records_dropped_total)" in told[0][SHOWN]
    assert skips.take() == []
    assert skips.counts == {("a", "error"): 6_000, ("b", "error"): 6}


def test_dropped_records_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    stats = Stats()
    with caplog.at_level(logging.WARNING, "tidemill"):
        stats.skipped([failed("parse", 7)])
    assert "step 'parse' of task 0_3 skipped a record" in caplog.text


def test_late_records_of_a_backlog_are_reported_once_per_step() -> None:
    lines = LateLines()
    late = {("w", "late"): 3, ("w", "null key"): 9}
    behind = {"w": 12_345_678}
    assert lines.lines(late, {}, 999, behind) == []  # live
    [line] = lines.lines(late, {}, 5_000, behind)
    assert line.startswith(
        "step 'w' has dropped 3 records as late, up to 3h26m behind its time, while 5,000 records of its inputs are "
        "still to be read"
    )
    assert "watermark=tm.bounded(...)" in line
    assert lines.lines({("w", "late"): 4}, late, 5_000, behind) == []
    assert lines.lines({("v", "late"): 4}, {("v", "late"): 4}, 5_000, behind) == []
    [line] = lines.lines({("v", "late"): 5}, {("v", "late"): 4}, 5_000, behind)
    assert line.startswith("step 'v' has dropped 5 records as late while 5,000 records")


def test_implausible_timestamps_are_reported_once_per_step() -> None:
    lines = DoubtLines()
    assert lines.lines({}) == []
    assert lines.lines({"a": "why 1", "b": "why 2"}) == ["step 'a': why 1", "step 'b': why 2"]
    assert lines.lines({"a": "why 3"}) == []


def test_implausible_timestamps_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    stats = Stats()
    with caplog.at_level(logging.WARNING, "tidemill"):
        for _ in range(2):
            stats.doubted({"in": "why"})
    assert [record.getMessage() for record in caplog.records] == ["step 'in': why"]


def test_the_lateness_of_records_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """From the operator through the task, over a commit that was rolled back, to the line."""
    app = tm.App("test")
    app.stream("in", key=tm.utf8, value=tm.raw).group_by_key().window(tm.tumbling("1m")).count().named("w")
    with tm.testing.TopologyDriver(app) as driver:
        for time in (10_000_000, 5_000, 1_000):
            driver.send("in", "k", b"", time)
        [task] = driver._tasks.values()
        task.discard()
        driver.send("in", "k", b"", 3_000)
        assert task.lateness() == {"w": 9_999_000}
        stats = Stats()
        with caplog.at_level(logging.WARNING, "tidemill"):
            stats.turn([task], lambda key: 5_000, 1_000)
    assert "step 'w' has dropped 3 records as late, up to 2h47m behind its time, while 4,996 records" in caplog.text
