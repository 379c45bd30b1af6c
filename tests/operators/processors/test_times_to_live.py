"""Tests of times to live: when state expires, with timers and watermarks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.one_processor import driver, read, rebuild


class Forgetful(tm.Processor[str, Any, Any]):
    value = tm.ValueState(int, default=-1, ttl=16)
    mapping = tm.MapState(int, int, ttl=16)
    items = tm.ListState(int, ttl="16ms")

    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        yield [self.value.get(), dict(self.mapping), list(self.items), len(self.mapping), len(self.items)]
        if value is not None:
            self.value.set(value)
            self.mapping[value % 3] = value
            self.items.append(value)
            if value == 8:
                yield self.items.popleft()
            if value == 9:
                self.items.clear()


moves = st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 12), st.none() | st.integers(0, 9)), max_size=25)


@given(moves, st.booleans())
def test_times_to_live_against_a_model(script: list[Any], rebuilding: bool) -> None:
    time = 0
    values: dict[str, tuple[int, int]] = {}
    mappings: dict[str, dict[int, tuple[int, int]]] = {"k": {}, "l": {}}
    items: dict[str, list[tuple[int, int]]] = {"k": [], "l": []}
    with driver(Forgetful) as running:
        for key, step, value in script:
            time += step
            running.send("a", key, value, time)
            if values.get(key, (0, time))[1] <= time:
                values.pop(key, None)
            mapping = mappings[key] = {k: v for k, v in mappings[key].items() if v[1] > time}
            alive = items[key] = [item for item in items[key] if item[1] > time]
            expected: list[Any] = [
                [
                    values.get(key, (-1, 0))[0],
                    {str(k): v[0] for k, v in mapping.items()},
                    [item[0] for item in alive],
                    len(mapping),
                    len(alive),
                ]
            ]
            if value is not None:
                values[key] = (value, time + 16)
                mapping[value % 3] = (value, time + 16)
                alive.append((value, time + 16))
                if value == 8:
                    expected.append(alive.pop(0)[0])
                if value == 9:
                    alive.clear()
            assert read(running) == expected
            if rebuilding:
                rebuild(running)
        running.send("a", "z", None, time + 100)
        for cache in running._tasks[next(iter(running._tasks))].caches.values():
            left = [slot for slot, _ in cache.scan(b"\x01", None)]
            assert left == [], "what has expired is deleted, its index with it"


class Reminder(tm.Processor[str, Any, Any]):
    """Store values with a time to live, and emit later which of them remain; set timers now and then."""

    value = tm.ValueState(int, default=-1, ttl=20)
    seen = tm.MapState(int, int, ttl=9)
    items = tm.ListState(int, ttl=14)

    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        if ctx.key != "noise":
            self.value.set(value)
            self.seen[value] = ctx.timestamp
            self.items.append(value)
            ctx.timer(f"t{value % 3}", after=value)
            yield self.known()

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        self.items.append(-ctx.timestamp)
        if ctx.timestamp % 4 == 0:
            self.value.set(ctx.timestamp)
            ctx.timer("again", after=11)
        yield [name, ctx.timestamp, self.known()]
        if ctx.timestamp % 5 == 0:
            raise ValueError("5")

    def known(self) -> list[Any]:
        return [self.value.get(), dict(self.seen), list(self.items)]


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 30)), min_size=1, max_size=10),
    st.sets(st.integers(0, 450), max_size=30),
    st.booleans(),
)
def test_a_timer_sees_what_it_would_see_on_time(
    moves: list[tuple[int, int]], noise: set[int], rebuilding: bool
) -> None:
    """The result is the same whether other keys advance the time, or it jumps from one record to the next."""

    def told(others: set[int]) -> list[Any]:
        app = tm.App("test", on_error=tm.skip)
        app.stream("a", key=tm.utf8, value=tm.json).process(Reminder).named("p").to("out")
        times = [sum(step for step, _ in moves[: place + 1]) for place in range(len(moves))]
        sent = [(time, "k", value) for time, (_, value) in zip(times, moves, strict=True)]
        with tm.testing.TopologyDriver(app) as running:
            # what comes at one time with a record of the key, comes after it
            for time, key, value in sorted([*sent, *((time, "noise", 0) for time in others)], key=lambda r: r[0]):
                running.send("a", key, value, time)
                if rebuilding:
                    rebuild(running)
            running.send("a", "noise", 0, 1_000)
            return read(running)

    assert told(noise) == told(set())


@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(-8, 0)), min_size=1, max_size=15),
    st.integers(0, 8),
)
def test_what_is_written_lives_from_the_time_of_its_record_with_watermarks(
    moves: list[tuple[int, int]], bound: int
) -> None:
    """Out of order, and before the first watermark; an item of a list lives as long as those before it."""

    class Remembering(tm.Processor[str, Any, Any]):
        value = tm.ValueState(int, default=-1, ttl=10)
        items = tm.ListState(int, ttl=10)

        def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
            yield [self.value.get(), list(self.items)]
            self.value.set(value)
            self.items.append(value)

    app = tm.App("test")
    source = app.stream("a", key=tm.utf8, value=tm.json, watermark=tm.bounded(bound))
    source.process(Remembering).named("p").to("out")
    start = 1_700_000_000_000
    newest, value, items = -1, (-1, 0), []
    with tm.testing.TopologyDriver(app) as running:
        time = start
        for number, (step, back) in enumerate(moves):
            time += step
            at = time + back
            running.send("a", "k", number, at)
            now = max(at, newest - bound)
            items = [item for item in items if item[1] > now]
            assert read(running) == [[value[0] if value[1] > now else -1, [item[0] for item in items]]]
            value = (number, now + 10)
            items.append((number, max([now + 10, *(until for _, until in items)])))
            newest = max(newest, at)


def test_methods_wait_for_the_first_watermark() -> None:
    class Ticking(tm.Processor[str, Any, Any]):
        last = tm.ValueState(int, ttl="1h")

        def process(self, value: Any, ctx: tm.Context[str]) -> None:
            self.last.set(value)
            ctx.timer("soon", after="1s", clock="wall")

        def on_timer(self, name: str, ctx: tm.Context[str]) -> None:
            self.last.set(7)

        @tm.every("10m")
        def tick(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, Any]]:
            yield tm.Record("tick", [value for _, value in self.last.scan()], ctx.timestamp)

    start = 1_793_491_200_000
    app = tm.App("test")
    sources = [app.stream(topic, key=tm.utf8, value=tm.json, watermark=tm.bounded("30s")) for topic in "ab"]
    sources[0].merge(sources[1]).process(Ticking).named("p").to("out")
    with tm.testing.TopologyDriver(app) as running:
        running.send("a", "k", 1, start)
        running.advance_wall_clock("2s")
        assert running.read("out") == [], "b has had no records: the time is unknown"
        running.send("b", "l", 2, start)
        assert [(record.timestamp - start, record.value) for record in running.read("out")] == [(-30_000, [7, 2])]


def test_a_time_to_live_can_be_given_later_and_taken_away() -> None:
    class Kept(tm.Processor[str, Any, Any]):
        value = tm.ValueState(int, default=0)

        def process(self, value: Any, ctx: tm.Context[str]) -> Any:
            before = self.value.get()
            self.value.set(value)
            return [before]

    class Expiring(Kept):
        value = tm.ValueState(int, default=0, ttl=10)

    with driver(Kept) as old:
        old.send("a", "k", 1, 0)
        (before,) = old._tasks.values()
        for processor, value, at, expected in ((Expiring, 2, 50, 1), (Expiring, 3, 55, 2), (Kept, 4, 500, 3)):
            with driver(processor) as running:
                (task,) = running._tasks.values()
                for kind, store in before.stores.items():
                    task.stores[kind]._stores.update(store._stores)
                    task.stores[kind]._scans.update(store._scans)
                running.send("a", "k", value, at)
                assert read(running) == [expected]
                before = task


def test_a_time_to_live_is_a_duration() -> None:
    with pytest.raises(tm.TopologyError, match="ttl: 'an hour' is not a duration"):
        tm.ValueState(int, ttl="an hour")
