"""Tests of calendar windows: without gaps, with starts and ends in local time, also at clock changes."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped

HOUR = 3_600_000
UNITS = ("hour", "day", "week", "month", "quarter", "year")
ZONES = (
    "UTC",
    "America/New_York",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Australia/Lord_Howe",  # changes by half an hour
    "America/Sao_Paulo",  # left midnight out
    "America/St_Johns",  # changed a minute after midnight
    "America/Havana",  # has midnight twice
    "Pacific/Apia",  # left a whole day out
)

times = st.integers(0, 2_000_000_000_000)


def at(zone: str, *parts: int) -> int:
    """Return the time of a local clock in ms; the first one if it is ambiguous."""
    return int(datetime(*parts, tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@examples(300)
@given(st.sampled_from(UNITS), st.sampled_from(ZONES), times)
@example("hour", "America/St_Johns", at("America/St_Johns", 1990, 4, 1, 1, 30))
@example("day", "America/St_Johns", at("UTC", 1990, 10, 28, 3, 0))
@example("day", "Pacific/Apia", at("UTC", 2011, 12, 30, 12))
def test_windows_tile_time(unit: Any, zone: str, time: int) -> None:
    windows = tm.calendar(unit, tz=zone)
    start, end = windows.interval(time)
    assert start <= time < end
    assert windows.interval(start) == windows.interval(end - 1) == (start, end)
    assert windows.interval(start - 1)[1] == start
    assert windows.interval(end)[0] == end == windows.end(start)


@examples(300)
@given(st.sampled_from(UNITS[1:]), st.sampled_from(ZONES[:5]), times)
def test_windows_begin_at_local_midnight(unit: Any, zone: str, time: int) -> None:
    for bound in tm.calendar(unit, tz=zone).interval(time):
        local = datetime.fromtimestamp(bound / 1000, ZoneInfo(zone))
        assert (local.hour, local.minute, local.second, local.microsecond) == (0, 0, 0, 0)
        assert unit != "week" or local.weekday() == 0
        assert unit not in ("month", "quarter", "year") or local.day == 1
        assert unit != "quarter" or local.month in (1, 4, 7, 10)
        assert unit != "year" or local.month == 1


@pytest.mark.parametrize(
    ("unit", "day", "length"),
    [
        ("day", (2024, 3, 10), 23 * HOUR),
        ("day", (2024, 11, 3), 25 * HOUR),
        ("day", (2024, 7, 4), 24 * HOUR),
        ("week", (2024, 11, 4), 7 * 24 * HOUR),
        ("month", (2024, 2, 1), 29 * 24 * HOUR),
        ("month", (2024, 11, 1), 30 * 24 * HOUR + HOUR),
        ("year", (2024, 1, 1), 366 * 24 * HOUR),
    ],
)
def test_lengths(unit: Any, day: tuple[int, int, int], length: int) -> None:
    start = at("America/New_York", *day)
    assert tm.calendar(unit, tz="America/New_York").interval(start) == (start, start + length)


def test_a_beginning_that_clocks_left_out_is_the_change() -> None:
    start, end = tm.calendar("day", tz="America/Sao_Paulo").interval(at("America/Sao_Paulo", 2017, 10, 15, 12))
    change = datetime(2017, 10, 15, 3, tzinfo=timezone.utc)  # 00:00 became 01:00
    assert (start, end) == (int(change.timestamp() * 1000), int((change + timedelta(hours=23)).timestamp() * 1000))


@examples(60)
@given(
    st.sampled_from(UNITS),
    st.sampled_from(ZONES),
    st.integers(0, 100 * HOUR),
    times,
    st.lists(st.integers(-60 * 24, 60 * 24), min_size=1, max_size=12),
)
def test_closing(unit: Any, zone: str, grace: int, begin: int, hours: list[int]) -> None:
    """Count per day, in the simplest way."""
    windows = tm.calendar(unit, tz=zone, grace=grace)
    app = tm.App("test")
    stream = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(windows).emit("close")
    stream.count().named("w").to("out")
    open_windows: dict[tuple[int, int], int] = {}
    time = -1
    with tm.testing.TopologyDriver(app) as driver:
        for timestamp in (max(begin + hour * HOUR, 0) for hour in hours):
            driver.send("a", "k", 1, timestamp)
            interval = windows.interval(timestamp)
            if interval[1] + grace > time:
                open_windows[interval] = open_windows.get(interval, 0) + 1
            time = max(time, timestamp)
            closed = sorted(window for window in open_windows if window[1] + grace <= time)
            results = [((r.key.start, r.key.end), r.value) for r in driver.read("out")]
            assert results == [(window, open_windows.pop(window)) for window in closed]


def test_mistakes() -> None:
    with pytest.raises(tm.TopologyError, match="is not a known time zone"):
        tm.calendar("day", tz="America/Nowhere")
    with pytest.raises(tm.TopologyError, match="not 'days'; did you mean 'day'"):
        tm.calendar(untyped("days"))
    assert str(tm.calendar("day", tz="Europe/Berlin", grace="1h")) == "each day in Europe/Berlin, grace 1h"
