"""Tests of `suppress` against a slow model; recorded cases are in tests/oracle."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples

rows = st.lists(st.tuples(st.sampled_from("klmn"), st.none() | st.integers(0, 5), st.integers(0, 60)), max_size=25)


class Model:
    """A list of rows that wait, oldest first."""

    def __init__(self, limit: int, most: int) -> None:
        self.limit, self.most, self.time = limit, most, -1
        self.waiting: dict[str, tuple[int, Any, int]] = {}

    def process(self, key: str, value: Any, time: int) -> list[Any]:
        entered = self.waiting[key][0] if key in self.waiting else time
        self.waiting[key] = (entered, value, time)
        self.time = max(self.time, time)
        sent: list[Any] = []
        for other, (since, newest, at) in sorted(self.waiting.items(), key=lambda item: (item[1][0], item[0])):
            if since + self.limit <= self.time or len(self.waiting) > self.most:
                del self.waiting[other]
                sent.append((other, newest, at))
        return sent


@given(rows, st.integers(0, 20), st.integers(1, 4))
def test_rows_wait_for_a_time(given_rows: list[tuple[str, Any, int]], limit: int, most: int) -> None:
    app = tm.App("test")
    table = app.table("a", key=tm.utf8, value=tm.json)
    held = table.suppress(until=limit, max_records=most).named("held")
    held.to("out")
    held.group_by(lambda value: "all").aggregate(n=tm.count(), sum=tm.sum(lambda v: v)).to("out_all")
    model = Model(limit, most)
    sent: dict[str, Any] = {}
    with tm.testing.TopologyDriver(app) as driver:
        for key, value, time in given_rows:
            driver.send("a", key, value, time)
            expected = model.process(key, value, time)
            assert [(r.key, r.value, r.timestamp) for r in driver.read("out")] == expected
            sent.update({key: value for key, value, _ in expected})
            assert dict(driver.store("held").items()) == {
                key: value for key, (_, value, _) in model.waiting.items() if value is not None
            }
            alive = [value for value in sent.values() if value is not None]
            for record in driver.read("out_all")[-1:]:
                assert record.value is None or record.value == {"n": len(alive), "sum": sum(alive)}


def test_a_buffer_of_so_many_bytes() -> None:
    app = tm.App("test")
    app.table("a", key=tm.utf8, value=tm.utf8).suppress(until="1d", max_bytes=10).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        changes = (("a", "1234"), ("b", "1234"), ("c", "1"), ("b", "1"), ("a", "1234567"))
        for time, (key, value) in enumerate(changes):
            driver.send("a", key, value, time)
        assert [(r.key, r.value) for r in driver.read("out")] == [("a", "1234"), ("b", "1")]


WINDOWS = [tm.tumbling(10, grace=3), tm.hopping(10, every=4), tm.sliding(6, grace=2), tm.session(gap=4, grace=2)]


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@examples(40)
@given(st.lists(st.tuples(st.sampled_from("kl"), st.integers(0, 60)), max_size=25))
def test_the_last_result_of_each_window(windows: Any, given_events: list[tuple[str, int]]) -> None:
    """Once a window: what was sent of it last when every update was."""
    app = tm.App("test")
    table = app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(windows).count().named("w")
    table.to("out_all")
    table.suppress(until="close").to("out")
    newest: dict[Any, Any] = {}
    sent: dict[Any, Any] = {}
    with tm.testing.TopologyDriver(app) as driver:
        for key, time in [*given_events, ("end", 1_000)]:
            driver.send("a", key, 1, time)
            for record in driver.read("out_all"):
                newest[record.key] = record.value
            for record in driver.read("out"):
                assert record.key not in sent or isinstance(windows, tm.SessionWindows)
                sent[record.key] = record.value
    assert sent == {key: value for key, value in newest.items() if value is not None and key.key != "end"}


def test_time_follows_watermarks() -> None:
    """With a bound, rows wait until no older record is expected; an idle source does not delay them."""
    app = tm.App("test")
    source = app.stream("a", key=tm.utf8, value=tm.json, watermark=tm.bounded(16, idle="5s"))
    source.group_by_key().window(tm.tumbling(10)).count().suppress(until="close").to("out")
    source.to_table().suppress(until=10).to("out_rows")
    with tm.testing.TopologyDriver(app) as driver:
        for time in (5, 24, 7, 26):
            driver.send("a", "k", time, time)
        assert [(r.key.start, r.value) for r in driver.read("out")] == [(0, 2)]  # at 10 = 26 - 16
        assert driver.read("out_rows") == []
        driver.advance_wall_clock("6s")
        assert [(r.key.start, r.value) for r in driver.read("out")] == [(20, 2)]
        assert [r.value for r in driver.read("out_rows")] == [26]


def test_mistakes() -> None:
    app = tm.App("test")
    table = app.table("a", key=tm.utf8, value=tm.json)
    with pytest.raises(tm.TopologyError, match="is for tables with windows"):
        table.suppress(until="close")
    with pytest.raises(tm.TopologyError, match="takes a number of at least 1, not 0"):
        table.suppress(until="10s", max_records=0)
    windowed = app.stream("b").group_by_key().window(tm.tumbling(10)).count()
    with pytest.raises(tm.TopologyError, match="is not the final result"):
        windowed.suppress(until="close", max_records=5)
    with pytest.raises(tm.TopologyError, match=r"suppress\(until=\): 'soon' is not a duration"):
        table.suppress(until="soon")
