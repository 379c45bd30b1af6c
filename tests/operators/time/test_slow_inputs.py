"""Where there is a watermark, nothing is forgotten that an input which is far behind may still ask for.

Two inputs meet: one has come to 9,000, the other begins at 0. Without a watermark the first one makes the second late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tidemill as tm

Stream = tm.Stream[str, Any]


class Remembering(tm.Processor[str, Any, Any]):
    """What was kept of the last while."""

    seen = tm.WindowState(int, retention=100, name="w")

    def process(self, value: int, ctx: tm.Context[str]) -> Any:
        found = [one for _, one in self.seen.fetch(ctx.timestamp - 50, ctx.timestamp)]
        self.seen.put(value, ctx.timestamp)
        return [found]


class Versioned(tm.Processor[str, Any, Any]):
    """What was valid a moment before."""

    seen = tm.VersionedState(int, history=100, name="v")

    def process(self, value: int, ctx: tm.Context[str]) -> Any:
        self.seen.put(value, ctx.timestamp)
        return [self.seen.get(ctx.timestamp - 5)]


def counted(stream: Stream, name: str) -> tm.Table[Any, int]:
    return stream.group_by_key().window(tm.tumbling(100)).count().named(name)


def joined_windows(a: Stream, b: Stream) -> Any:
    return counted(a, "n-a").join(counted(b, "n-b"), lambda left, right: [left, right]).named("w")


def as_of(a: Stream, b: Stream) -> Any:
    versions = a.to_table(history=100).named("w")
    return b.join(versions, lambda value, row: [value, row], as_of=True, how="left").named("j")


STEPS: dict[str, tuple[Callable[[Stream, Stream], Any], str, list[Any]]] = {
    "deduplicate": (lambda a, b: a.merge(b).deduplicate(100).named("w"), "w", [("k", 1), ("z", 2)]),
    "window state": (
        lambda a, b: a.merge(b).process(Remembering).named("p"),
        "w",
        [("k", []), ("k", [1]), ("z", []), ("k", [1]), ("k", [1, 3, 5])],
    ),
    "versioned state": (
        lambda a, b: a.merge(b).process(Versioned).named("p"),
        "v",
        [("k", None), ("k", 1), ("z", None), ("k", 1), ("k", 5)],
    ),
    "tables by window": (joined_windows, "w", [("k", [2, 1]), ("k", [2, 2])]),
    "as of a time": (as_of, "w", [("k", [3, 1]), ("k", [4, 5])]),
}


def started(step: str, watermark: tm.Watermark | None) -> tm.testing.TopologyDriver:
    app = tm.App("test")
    inputs = [app.stream(topic, key=tm.utf8, value=tm.json, watermark=watermark) for topic in "ab"]
    STEPS[step][0](*inputs).to("out")
    return tm.testing.TopologyDriver(app)


def run(driver: tm.testing.TopologyDriver) -> list[Any]:
    for key, value, time in (("k", 1, 0), ("k", 5, 20), ("z", 2, 9_000)):
        driver.send("a", key, value, time)
    for value, time in ((3, 10), (4, 30)):
        driver.send("b", "k", value, time)
    found = [(record.key, record.value) for record in driver.read("out")]
    return [(key.key if isinstance(key, tm.Windowed) else key, value) for key, value in found]


@pytest.mark.parametrize("step", STEPS)
def test_the_time_is_that_of_the_slower_input(step: str) -> None:
    with started(step, tm.bounded(10)) as driver:
        assert run(driver) == STEPS[step][2]
        assert not {reason for _, reason in driver.dropped} - {"duplicate"}


@pytest.mark.parametrize("step", STEPS)
def test_without_a_watermark_it_is_that_of_the_newest_record(step: str) -> None:
    with started(step, None) as driver:
        assert run(driver) != STEPS[step][2]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("silent", [False, True])
def test_what_the_watermark_has_passed_is_forgotten(step: str, silent: bool) -> None:
    with started(step, tm.bounded(10, idle="1s" if silent else None)) as driver:
        run(driver)
        for number in range(50):
            driver.send("a", f"a{number}", 1, 10_000 + 100 * number)
            driver.send("b", f"b{number}", 1, 10_000 + 100 * number)
        kept = sum(1 for _ in entries(driver, STEPS[step][1]))
        assert kept < (110 if step in ("versioned state", "as of a time") else 25)
        if silent and step not in ("versioned state", "as of a time"):  # these keep the newest of each key
            for _ in range(3):
                driver.advance_wall_clock("20s")
            assert not list(driver.store(STEPS[step][1]).items())


def test_sliding_windows_of_the_slower_input_are_whole() -> None:
    """They are what they would be if all records came in order."""
    quick, slow = [1_000, 1_020, 1_045, 9_000], [1_010, 1_030, 1_060]
    found: list[dict[Any, int]] = []
    for order in ([*quick, *slow], sorted([*quick, *slow])):
        app = tm.App("test")
        a, b = (app.stream(topic, key=tm.utf8, value=tm.json, watermark=tm.bounded(10)) for topic in "ab")
        a.merge(b).group_by_key().window(tm.sliding(50)).count().named("w").to("out")
        with tm.testing.TopologyDriver(app) as driver:
            for time in order:
                driver.send("a" if time in quick else "b", "k", 1, time)
            found.append({record.key: record.value for record in driver.read("out")})
    assert found[0] == found[1]


def entries(driver: tm.testing.TopologyDriver, store: str) -> Any:
    """All that a store holds."""
    return next(task.caches[store].scan(b"", None) for task in driver._tasks.values() if store in task.caches)
