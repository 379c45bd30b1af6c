"""Tests of joins of windowed tables: each window ends as a join of its rows, and expires."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples


class Sent(NamedTuple):
    topic: str
    key: str
    time: int


inputs = st.lists(
    st.builds(Sent, st.sampled_from("ab"), st.sampled_from("kl"), st.integers(0, 90)), min_size=1, max_size=30
)

WINDOWS = [tm.tumbling(10, grace=5), tm.hopping(10, every=4), tm.sliding(6, grace=5), tm.session(gap=4, grace=5)]


def tables(app: tm.App, windows: Any, when: Any) -> tuple[tm.Table[Any, int], tm.Table[Any, int]]:
    def counted(topic: str) -> tm.Table[Any, int]:
        windowed = app.stream(topic, key=tm.utf8, value=tm.json).group_by_key().window(windows).emit(when)
        return windowed.count().named(f"n-{topic}")

    return counted("a"), counted("b")


def ends(records: list[tm.Record[Any, Any]]) -> dict[Any, Any]:
    found = {record.key: record.value for record in records}
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("windows", WINDOWS, ids=str)
@pytest.mark.parametrize("when", ["update", "close"])
@examples(25)
@given(inputs)
def test_a_window_ends_as_a_join_of_its_rows(windows: Any, when: str, sent: list[Sent]) -> None:
    app = tm.App("test")
    a, b = tables(app, windows, when)
    a.to("a-out")
    b.to("b-out")
    a.join(b, lambda x, y: [x, y]).named("inner").to("inner")
    a.outer_join(b, lambda x, y: [x, y]).named("outer").to("outer")
    with tm.testing.TopologyDriver(app) as driver:
        for topic, key, time in [*sent, Sent("a", "k", 2_000), Sent("b", "k", 2_000)]:
            driver.send(topic, key, 0, time)
        left, right = ends(driver.read("a-out")), ends(driver.read("b-out"))
        outer = {key: [left.get(key), right.get(key)] for key in {*left, *right}}
        assert ends(driver.read("outer")) == outer
        assert ends(driver.read("inner")) == {key: pair for key, pair in outer.items() if None not in pair}
        assert not driver.dropped.get(("inner", "late"))
        if when == "update":  # on close, no record has closed the old windows yet
            assert all(key.start >= 1_900 for key, _ in driver.store("outer").items())


def test_an_idle_table_is_not_waited_for_forever() -> None:
    app = tm.App("test")
    a, b = tables(app, tm.tumbling(10), "update")
    a.left_join(b, lambda x, y: [x, y]).named("j").to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for time in range(0, 1_000, 10):
            driver.send("a", "k", 0, time)
        assert len(driver.store("j")) == 12  # those that end within the last ten spans
        driver.send("b", "k", 0, 5)
        assert driver.dropped == {("j", "late"): 1}


def test_tables_of_other_windows_are_refused() -> None:
    app = tm.App("test")
    a, _ = tables(app, tm.tumbling(10), "update")
    other = app.stream("c", key=tm.utf8).group_by_key().window(tm.tumbling(20)).count()
    with pytest.raises(tm.TopologyError, match="windows of one size"):
        a.join(other, max)
