"""Tests of error policies: per step, within a list, in timers, by the wall clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tidemill as tm
from tests.support.untyped import untyped


def checked(value: int) -> int:
    if value == 13:
        raise ValueError("13")
    return value


def source(app: tm.App) -> tm.Stream[str, Any]:
    return app.stream("a", key=tm.utf8, value=tm.json)


def sent(app: tm.App, values: list[int]) -> tm.testing.TopologyDriver:
    driver = tm.testing.TopologyDriver(app)
    driver.send_all("a", [tm.Record("k", value, 0) for value in values])
    return driver


def test_a_step_may_skip_what_stops_the_others() -> None:
    app = tm.App("test")
    source(app).map(checked).named("m").on_error(tm.skip).map(lambda v: 10 // v).named("d").to("out")
    assert [record.value for record in sent(app, [1, 13, 2]).read("out")] == [10, 5]
    with pytest.raises(tm.RecordError, match="step 'd'"):
        sent(app, [1, 13, 0])


def test_a_step_may_stop_where_the_others_skip() -> None:
    app = tm.App("test", on_error=tm.skip)
    source(app).map(lambda v: 10 // v).named("d").map(checked).named("m").on_error(tm.fail).to("out")
    driver = sent(app, [1, 0, 2])
    assert [record.value for record in driver.read("out")] == [10, 5]
    assert driver.dropped == {("d", "error"): 1}
    app = tm.App("test", on_error=tm.skip)
    source(app).map(checked).named("m").on_error(tm.fail).to("out")
    with pytest.raises(tm.RecordError, match="step 'm'"):
        sent(app, [13])


def test_a_source_may_skip_what_it_cannot_read() -> None:
    app = tm.App("test")
    app.stream("a", key=tm.raw, value=tm.json).on_error(tm.skip).to("out", value=tm.json)
    app.table("b", key=tm.raw, value=tm.json).on_error(tm.skip).to("out_table", value=tm.json)
    driver = tm.testing.TopologyDriver(app)
    for topic in ("a", "b"):
        node = driver._readers[topic]
        object.__setattr__(node, "value", tm.raw)  # so that the driver sends bytes
        driver.send_all(topic, [tm.Record(b"k", value, 0) for value in (b"1", b"{", b"2")])
    assert [record.value for record in driver.read("out")] == [1, 2]
    assert [record.value for record in driver.read("out_table")] == [1, 2]
    assert driver.dropped == {("a", "undecodable"): 1, ("b-source", "undecodable"): 1}


def test_the_policy_of_a_keyed_step_includes_its_repartition() -> None:
    app = tm.App("test")
    source(app).group_by(checked).count().named("n").on_error(tm.skip).to("out")
    driver = sent(app, [1, 13, 1])
    assert [record.value for record in driver.read("out")] == [1, 2]
    assert driver.dropped == {("n", "error"): 1}


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(tm.TopologyError, match=r"\.on_error\(\) takes tm\.fail or tm\.skip, not 'skip'"):
        source(tm.App("test")).on_error(untyped("skip"))


def test_a_list_may_have_any_number_of_records_that_fail() -> None:
    app = tm.App("test", on_error=tm.skip)
    source(app).map(checked).named("m").to("out")
    driver = sent(app, [13] * 1_000 + [1] + [13] * 1_000)
    assert [record.value for record in driver.read("out")] == [1]
    assert driver.dropped == {("m", "error"): 2_000}


class Alarm(tm.Processor[str, int, Any]):
    """Sets a timer by the wall clock for each record; every other one fails."""

    fired = tm.ValueState(int, default=0)

    def process(self, value: int, ctx: tm.Context[str]) -> None:
        ctx.timer(f"t{value}", after=value, clock="wall")

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        self.fired.set(self.fired.get() + 1)
        yield [name, self.fired.get()]
        yield tm.side("side", name)
        if int(name[1:]) % 2:
            raise ValueError("odd")


def alarms(policy: tm.ErrorPolicy, step: tm.ErrorPolicy | None) -> tm.testing.TopologyDriver:
    app = tm.App("test", on_error=policy)
    handle = source(app).process(Alarm).named("p")
    if step is not None:
        handle.on_error(step)
    handle.to("out")
    handle.side("side").to("out_side")
    return sent(app, [5, 1, 2, 3, 4])


@pytest.mark.parametrize(("policy", "step"), [(tm.skip, None), (tm.fail, tm.skip)])
def test_a_timer_by_the_wall_clock_that_fails_is_skipped(policy: tm.ErrorPolicy, step: tm.ErrorPolicy | None) -> None:
    driver = alarms(policy, step)
    driver.advance_wall_clock(10)
    assert [record.value for record in driver.read("out")] == [["t2", 1], ["t4", 2]]
    assert [record.value for record in driver.read("out_side")] == ["t2", "t4"]
    assert driver.dropped == {("p", "error"): 3}


@pytest.mark.parametrize(("policy", "step"), [(tm.fail, None), (tm.skip, tm.fail)])
def test_a_timer_by_the_wall_clock_that_fails_stops_the_program(
    policy: tm.ErrorPolicy, step: tm.ErrorPolicy | None
) -> None:
    driver = alarms(policy, step)
    with pytest.raises(tm.RecordError, match=r"step 'p' of task 0_0 could not fire timer 't1' for .*\(wall clock\)"):
        driver.advance_wall_clock(10)
