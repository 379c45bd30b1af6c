"""The parts of the demonstration, each by itself: the feed, the topology, the comparison, the display."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import polars as pl
import pytest
from rich.console import Console

import tidemill as tm

from .checks import flights
from .conftest import Load

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flights")]  # the year is read once
HOUR = 3_600_000


@pytest.fixture
def feed(load: Load) -> Any:
    return load("flights/feed.py")


@pytest.fixture
def year() -> list[Any]:
    return flights()


@pytest.fixture
def batch(load: Load) -> Any:
    return load("flights/batch.py")


@pytest.fixture
def verify(load: Load) -> Any:
    return load("flights/verify.py")


def test_the_feed_has_every_flight_once_in_order_of_departure(year: list[Any], batch: Any) -> None:
    assert len(year) == len({(event.key, event.time) for event in year}) == 336_776
    times = [event.time for event in year]
    assert times == sorted(times)
    # Derived from New York wall-clock time here, from the UTC hour that the data comes with there.
    assert times == batch.read_flights()["time"].sort().to_list()


@pytest.mark.parametrize(
    ("day", "hhmm", "utc"),
    [
        ((2013, 3, 9), 500, "2013-03-09T10:00"),  # the day before clocks went forward
        ((2013, 3, 10), 500, "2013-03-10T09:00"),
        ((2013, 11, 2), 2359, "2013-11-03T03:59"),
        ((2013, 11, 3), 520, "2013-11-03T10:20"),  # the day they went back
    ],
)
def test_wall_clock_time_minds_daylight_saving(feed: Any, day: tuple[int, int, int], hhmm: int, utc: str) -> None:
    expected = pl.Series([utc]).str.to_datetime("%Y-%m-%dT%H:%M", time_unit="ms").dt.epoch("ms")[0]
    assert feed.to_utc(*day, hhmm) == expected


def test_some_flights_are_sent_twice_soon_after_and_the_same_ones_each_time(feed: Any, year: list[Any]) -> None:
    flights = year[:20_000]
    events = list(feed.with_repeats(flights))
    assert events == list(feed.with_repeats(flights))
    assert [event for event in events if not event.repeat] == flights
    repeats = [event for event in events if event.repeat]
    assert 0.015 < len(repeats) / len(flights) < 0.025
    first = {(event.key, event.time): index for index, event in enumerate(events) if not event.repeat}
    again = {(event.key, event.time): index for index, event in enumerate(events) if event.repeat}
    assert all(0 < again[key] - first[key] < 700 for key in again)


CUT = 1_357_189_200_000
"""3 January 2013 in New York: two days of flights, with cancelled ones among them, are enough for the topology."""


@pytest.mark.parametrize("seed", [0, 1])
def test_the_topology_gives_the_batch_results_whatever_the_pace(
    load: Load, feed: Any, year: list[Any], batch: Any, verify: Any, seed: int
) -> None:
    flights = [event for event in year if event.time < CUT]
    events = list(feed.with_repeats(flights, share=0.1))
    app = load("flights/app.py")
    found: dict[str, list[Any]] = {}
    with tm.testing.TopologyDriver(app.app, partitions=6) as driver:
        for partition, stretch in at_different_paces(events, random.Random(seed)):
            flights_of_it = [
                tm.Record(event.key, msgspec.json.decode(event.value, type=app.Flight), event.time) for event in stretch
            ]
            driver.send_all("tidemill-demo-flights", flights_of_it, partition)
        for topic in ("airport-hours", "airlines", "repeats"):
            found[topic] = driver.read(f"tidemill-demo-{topic}")
    assert not any(driver.dropped.values())

    rows = batch.read_flights().filter(pl.col("time") < CUT)
    assert rows.height == len(flights)
    hours = [((record.key.key, record.key.start), record.value) for record in found["airport-hours"]]
    totals = [(record.key, record.value) for record in found["airlines"]]
    assert batch.compare("hours", dict(hours), batch.airport_hours(rows)).passed
    assert batch.compare("airlines", dict(totals), batch.airlines(rows)).passed
    assert verify.check_updates("hours", verify.counts(hours), batch.airport_hours(rows)).passed
    assert len(hours) == len(totals) == len(flights)
    repeats = [(record.key, record.timestamp) for record in found["repeats"]]
    assert sorted(repeats) == sorted((event.key, event.time) for event in events if event.repeat)


def at_different_paces(events: list[Any], chance: random.Random) -> Iterator[tuple[int, list[Any]]]:
    """As six partitions that are read one after the other in stretches, each in its own order."""
    partitions: list[list[Any]] = [[] for _ in range(6)]
    for event in events:
        partitions[hash_of(event.key) % 6].append(event)
    while any(partitions):
        number = chance.choice([number for number, partition in enumerate(partitions) if partition])
        count = chance.choice([1, 50, 200])
        yield number, partitions[number][:count]
        del partitions[number][:count]


def hash_of(key: str) -> int:
    """The same in every run, unlike hash()."""
    return sum(key.encode())


ROW = {"flights": 2, "departed": 1, "minutes": 7, "worst": 7, "mean": 7.0}


def test_the_comparison_sees_every_kind_of_difference(batch: Any) -> None:
    assert batch.compare("x", {"a": dict(ROW)}, {"a": ROW}).passed
    for streamed, expected, word in [
        ({}, {"a": ROW}, "nothing"),
        ({"a": ROW}, {}, "no such key"),
        ({"a": {**ROW, "minutes": 8}}, {"a": ROW}, "8"),
        ({"a": {**ROW, "mean": 7.000000000000001}}, {"a": ROW}, "7.000000000000001"),
        ({"a": {**ROW, "worst": None}}, {"a": ROW}, "None"),
    ]:
        comparison = batch.compare("x", streamed, expected)
        assert not comparison.passed
        assert word in comparison.differences[0]


def test_an_update_that_came_twice_or_went_back_is_seen(verify: Any) -> None:
    expected = {"a": {**ROW, "flights": 3}}
    assert verify.check_updates("x", [("a", 1), ("a", 2), ("a", 3)], expected).passed
    assert verify.check_updates("x", [("a", 2), ("a", 3)], expected).passed
    assert not verify.check_updates("x", [("a", 1), ("a", 2), ("a", 2), ("a", 3)], expected).passed
    assert not verify.check_updates("x", [("a", 1), ("a", 2), ("a", 1), ("a", 3)], expected).passed
    assert not verify.check_updates("x", [("a", 1), ("a", 2)], expected).passed
    assert not verify.check_unique("x", ["a", "b", "a"]).passed


def test_the_display_shows_any_status(load: Load) -> None:
    monitor, display = load("flights/monitor.py"), load("flights/display.py")
    empty = monitor.Status(0, 100, 1357035300000, 0, 0.0, 0.0, 0, 0.0, None, 0.0, 0.0, "starting", 0, 0, 0)
    full = monitor.Status(
        90, 100, 1388552340000, 80, 12.0, 11.5, 3, 1.0, 8.4, 1e6, 1e8, "running", 2, 170, 1,
        [("JFK", 1357034400000, ROW), ("XXX", 1357034400000, {**ROW, "departed": 0, "mean": None, "worst": None})],
        [("UA", {**ROW, "worst": 1301})],
    )  # fmt: skip
    console = Console(width=80, height=24, force_terminal=True, color_system=None, record=True, file=io.StringIO())
    screen = display.TerminalDisplay(console, "title", {"JFK": "John F Kennedy Intl"}, {"UA": "United Air Lines Inc."})
    for status in (empty, full):
        screen.show(status)
    screen.close()
    text = console.export_text()
    assert "lag 10" in text
    assert "John F Kennedy  " in text
    assert "+21 h 41" in text
    assert all(len(line.rstrip()) <= 79 for line in text.splitlines())
    lines = display.LineDisplay(Console(record=True, width=300, file=io.StringIO()), every=1)
    lines.show(full)
