"""Tests of `WindowState` against a dict: what is visible, and that invisible entries are deleted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm

RETENTION = 40


class Doing(tm.Processor[str, list[Any], Any]):
    kept = tm.WindowState(int, retention=RETENTION, name="kept")

    def process(self, value: list[Any], ctx: tm.Context[str]) -> Any:
        what, *arguments = value
        return [getattr(self, what)(*arguments)]

    def put(self, value: int | None, time: int) -> None:
        self.kept.put(value, time)

    def fetch(self, since: int, until: int) -> Any:
        return self.kept.fetch(since, until)

    def get(self, time: int) -> Any:
        return self.kept.get(time)

    def scan(self) -> Any:
        return list(self.kept.scan())


def driver() -> Any:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).process(Doing).named("p").to("out")
    return tm.testing.TopologyDriver(app)


times = st.integers(0, 200)
puts = st.tuples(st.just("put"), st.none() | st.integers(0, 9), times)
fetches = st.tuples(st.just("fetch"), times, times)


@given(st.lists(st.tuples(st.sampled_from("kl"), puts | fetches | st.tuples(st.just("get"), times)), max_size=40))
def test_it_is_a_dict_of_what_is_not_too_old(calls: list[tuple[str, Any]]) -> None:
    model: dict[tuple[str, int], int] = {}
    newest = -1
    with driver() as running:
        for key, (what, *arguments) in calls:
            running.send("a", key, [what, *arguments], 0)
            alive = {slot: value for slot, value in model.items() if slot[1] > newest - RETENTION}
            if what == "put":
                value, time = arguments
                newest = max(newest, time)
                if value is None:
                    model.pop((key, time), None)
                elif time > newest - RETENTION:
                    model[key, time] = value
                expected = None
            elif what == "get":
                expected = alive.get((key, arguments[0]))
            else:
                since, until = arguments
                expected = sorted(
                    [time, value] for (mine, time), value in alive.items() if mine == key and since <= time <= until
                )
            assert running.read("out")[0].value == expected
        running.send("a", "k", ["scan"], 0)
        alive = {slot: value for slot, value in model.items() if slot[1] > newest - RETENTION}
        assert running.read("out")[0].value == [[key, time, value] for (key, time), value in sorted(alive.items())]


@pytest.mark.slow
def test_what_has_expired_is_deleted_as_time_goes_on() -> None:
    with driver() as running:
        for time in range(2_000):
            running.send("a", "k" if time % 3 else "l", ["put", 1, time], 0)
            assert len(running.store("kept")) <= RETENTION + RETENTION // 8 + 1
        running.send("a", "m", ["put", 1, 5_000], 0)
        assert list(running.store("kept").items()) == [(("m", 5_000), 1)]


@pytest.mark.parametrize("time", [-1, 1.5, None, True])
def test_what_is_no_time_is_refused(time: Any) -> None:
    with driver() as running, pytest.raises(tm.RecordError, match=r"window state 'kept': .* is no time"):
        running.send("a", "k", ["put", 1, time], 0)


def test_two_states_cannot_have_one_name() -> None:
    class Twice(tm.Processor[str, int, int]):
        a = tm.ValueState(int, name="same")
        b = tm.WindowState(int, retention="1h", name="same")

    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.int64).process(Twice).to("out")
    with pytest.raises(tm.TopologyError, match="a store called 'same'"):
        app.topology()
    with pytest.raises(tm.TopologyError, match="retention"):
        tm.WindowState(int, retention="-1h")
