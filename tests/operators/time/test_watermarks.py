"""Tests of watermarks in programs: windows, joins and timers follow them, and the wall clock for idle inputs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import tidemill as tm
from tests.support.untyped import untyped


def source(app: tm.App, topic: str = "a", watermark: tm.Watermark | None = None) -> tm.Stream[str, Any]:
    return app.stream(topic, key=tm.utf8, value=tm.json, watermark=watermark or tm.bounded(100, idle="30s"))


def values(driver: tm.testing.TopologyDriver, topic: str = "out") -> list[Any]:
    return [record.value for record in driver.read(topic)]


def one_more(count: int, value: Any) -> int:
    return count + 1


def windowed(stream: tm.Stream[str, Any]) -> None:
    stream.group_by_key().window(tm.tumbling(1_000)).emit("close").count().named("w").to("out")


def test_records_out_of_order_by_the_bound_are_not_late() -> None:
    app = tm.App("test")
    windowed(source(app))
    with tm.testing.TopologyDriver(app) as driver:
        for time in (10, 1_050, 950, 1_099):
            driver.send("a", "k", 1, time)
        assert values(driver) == []
        driver.send("a", "k", 1, 1_106)
        assert values(driver) == [2]
        driver.send("a", "k", 1, 950)
        assert driver.dropped == {("w", "late"): 1}


def test_windows_close_when_inputs_are_idle() -> None:
    app = tm.App("test")
    windowed(source(app))
    with tm.testing.TopologyDriver(app, now=5_000_000) as driver:
        driver.send("a", "k", 1, 10)
        driver.advance_wall_clock("29s")
        assert values(driver) == []
        driver.advance_wall_clock("1s")
        assert values(driver) == [1]
        driver.send("a", "k", 1, 990)
        assert driver.dropped == {("w", "late"): 1}
        driver.send("a", "k", 1, 40_000)
        assert values(driver) == []


def test_nothing_is_written_while_nothing_happens() -> None:
    app = tm.App("test")
    windowed(source(app))
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 10)
        driver.advance_wall_clock("1m")
        (task,) = driver._tasks.values()
        task.tick(driver.clock.now() + 500_000)  # forgets the window that was sent
        task.prepare_commit()
        task.complete_commit(tm.testing.Position())
        task.tick(driver.clock.now() + 1_000_000)
        assert not task.dirty


def test_windows_of_an_idle_partition_close_after_a_repartition_too() -> None:
    app = tm.App("test")
    grouped = source(app).group_by(lambda value: value)
    grouped.window(tm.tumbling(1_000)).emit("close").count().named("w").to("out", key=tm.utf8)
    with tm.testing.TopologyDriver(app, partitions=4) as driver:
        for value in "abcdefgh":
            driver.send("a", value, value, 10)
        driver.advance_wall_clock("31s")
        assert sorted(record.key.key for record in driver.read("out")) == sorted("abcdefgh")


def test_a_task_waits_for_the_input_that_is_behind() -> None:
    app = tm.App("test")
    windowed(source(app).merge(source(app, "b")))
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 10)
        driver.send("b", "k", 1, 20)
        driver.send("a", "k", 1, 9_000)
        assert values(driver) == []
        driver.send("b", "k", 1, 30)
        driver.send("b", "k", 1, 1_200)
        assert values(driver) == [3]
        driver.advance_wall_clock("20s")
        driver.send("a", "k", 1, 9_100)
        driver.advance_wall_clock("20s")  # b is idle now, a is not
        assert values(driver) == [1]
        assert driver.dropped == {}


def test_an_outer_join_emits_unmatched_records_when_inputs_are_idle() -> None:
    app = tm.App("test")
    joined = source(app).join(source(app, "b"), lambda a, b: [a, b], within="1s", how="left")
    joined.to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 10)
        driver.advance_wall_clock("10s")
        assert values(driver) == []
        driver.advance_wall_clock("20s")
        assert values(driver) == [[1, None]]


def test_what_waits_for_a_version_is_joined_when_nothing_comes() -> None:
    app = tm.App("test")
    rows = app.table("t", key=tm.utf8, value=tm.json, history="1h")
    source(app).join(rows, lambda value, row: [value, row], as_of=True, grace="5s").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 10)
        driver.send("t", "k", "row", 5)
        driver.advance_wall_clock("29s")
        assert values(driver) == []
        driver.advance_wall_clock("1s")
        assert values(driver) == [[1, "row"]]


class Silence(tm.Processor[str, Any, Any]):
    """Emit when a key has had no records for a while."""

    last = tm.ValueState(int, ttl="10s")

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        self.last.set(ctx.timestamp)
        ctx.timer("quiet", after="5s")

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        return [[name, ctx.timestamp, ctx.stream_time]]

    @tm.every("20s")
    def all(self, ctx: tm.Context[str]) -> Any:
        return [tm.Record("all", len(list(self.last.scan())), ctx.timestamp)]


@pytest.mark.parametrize("rebuild", [False, True])
def test_timers_fire_when_inputs_are_idle(rebuild: bool) -> None:
    app = tm.App("test")
    source(app).process(Silence).named("p").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 10)
        driver.send("a", "k", 1, 1_000)
        assert values(driver) == [1]
        for _ in range(30):
            if rebuild:
                for task in driver._tasks.values():
                    for key in task.discard():
                        task.caught_up(key, True)
            driver.advance_wall_clock("1s")
        assert values(driver) == [["quiet", 6_000, 30_900], 0]
        driver.advance_wall_clock("10s")
        assert values(driver) == [0]


def test_what_is_no_watermark_is_refused() -> None:
    with pytest.raises(tm.TopologyError, match=r"watermark= takes tm\.bounded"):
        tm.App("test").stream("a", watermark=untyped("5s"))
    with pytest.raises(tm.TopologyError, match=r"tm\.bounded\(\): 'x' is not a duration"):
        tm.bounded("x")
    with pytest.raises(tm.TopologyError, match="idle"):
        tm.bounded("5s", idle=0)


def test_tasks_before_a_repartition_may_be_apart_by_the_bound_and_the_grace() -> None:
    app = tm.App("test")
    grouped = source(app, watermark=tm.bounded("5s")).group_by(lambda value: value)
    grouped.window(tm.tumbling("1m", grace="2s")).count().named("w").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        assert [part.alignment for part in driver.plan.subtopologies] == [7_000, None]
        assert [node.watermark for part in driver.plan.subtopologies for _, node in part.inputs] == [
            tm.Watermark(5_000),
            tm.Watermark(5_000),
        ]


async def later(value: Any) -> Any:
    await asyncio.sleep(0.001)
    return value


WAITING = {
    "map_async": lambda stream: stream.map_async(later, in_flight=3),
    "map_async, unordered": lambda stream: stream.map_async(later, in_flight=3, ordered=False),
    "map_batch": lambda stream: stream.map_batch(list, max_size=4, max_wait="1s"),
    "both": lambda stream: stream.map_batch(list, max_size=2, max_wait="1s").map_async(later, in_flight=2),
}


@pytest.mark.parametrize("step", WAITING)
@pytest.mark.parametrize("cut", [1, 3, 9])
@pytest.mark.parametrize("rebuild", [False, True])
def test_time_does_not_overtake_records_that_wait(step: str, cut: int, rebuild: bool) -> None:
    """In order as they come nothing is late, and each window is sent when the records before its end have come."""
    times = [1, 2, 11, 12, 21, 31, 41, 43, 55]
    app = tm.App("test")
    windowed = WAITING[step](source(app, watermark=tm.bounded(0))).group_by_key().window(tm.tumbling(10))
    windowed.emit("close").count().named("w").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for start in range(0, len(times), cut):
            driver.send_all("a", [tm.Record("k", 1, time) for time in times[start : start + cut]])
            if rebuild:
                for task in driver._tasks.values():
                    for key in task.discard():
                        task.caught_up(key, True)
        driver.advance_wall_clock("10s")
        driver.send("a", "k", 1, timestamp=100)
        driver.advance_wall_clock("10s")
        assert [(record.key.start, record.value) for record in driver.read("out")] == [
            (0, 2),
            (10, 2),
            (20, 1),
            (30, 1),
            (40, 2),
            (50, 1),
        ]
        assert driver.dropped == {}


def test_what_is_sent_late_by_design_is_not_late_downstream() -> None:
    """Results of windows on close, at intervals, of suppress and of joins that give up are older than their time."""
    app = tm.App("test")
    stream, other = source(app, watermark=tm.bounded(0)), source(app, "b", watermark=tm.bounded(0))
    both = stream.group_by_key().cogroup(one_more).cogroup(other.group_by_key(), one_more)
    ways = {
        "close": stream.group_by_key().window(tm.tumbling(50)).emit("close").count().named("one").to_stream(),
        "calendar": stream.group_by_key().window(tm.calendar("hour")).emit("close").count().named("two").to_stream(),
        "session": stream.group_by_key().window(tm.session(gap=20)).emit("close").count().named("three").to_stream(),
        "sliding": stream.group_by_key().window(tm.sliding(20)).emit("close").count().named("four").to_stream(),
        "every": stream.group_by_key().window(tm.tumbling(50)).emit(tm.every("1s")).count().named("five").to_stream(),
        "several": both.window(tm.tumbling(50)).emit(tm.every("1s")).aggregate(0).named("seven").to_stream(),
        "suppress": stream.group_by_key().count().named("six").suppress(until=30).to_stream(),
        "join": stream.join(other, lambda a, b: 1, within=30, how="left"),
    }
    for name, way in ways.items():
        again = way.with_key(lambda value: "k").repartition().group_by_key().window(tm.tumbling(1))
        again.emit("close").count().named(f"{name}-again").to(name)
    with tm.testing.TopologyDriver(app) as driver:
        for time in range(0, 1_000, 7):
            driver.send("a", "k", 1, time)
            driver.send("b", "j", 1, time)
        driver.advance_wall_clock("2s")
        for time in (3_601_000, 40_000_000):
            driver.send("a", "k", 1, time)
            driver.send("b", "j", 1, time)
            driver.advance_wall_clock("2s")
        assert driver.dropped == {}
        assert {name: bool(driver.read(name)) for name in ways} == dict.fromkeys(ways, True)
