"""Tests of the inputs of a stream-table join while upstream tasks of one input are behind."""

from __future__ import annotations

from typing import Any

from tidemill.engine.tasks.ordered_buffer import MUCH, OrderedBuffer
from tidemill.engine.watermarks.records import Mark, ProducerState, ReceivedMarks, UpstreamTasks
from tidemill.operators.record import Record

STREAM, TABLE = ("orders", 0), ("prices-repartition", 0)


def records(*times: int) -> list[Record[Any, Any]]:
    return [Record("k", 1, time, (), offset) for offset, time in enumerate(times)]


def buffer(*told: tuple[int, ProducerState]) -> tuple[OrderedBuffer, ReceivedMarks]:
    by = ReceivedMarks(UpstreamTasks(1, 2))
    for number, (time, state) in enumerate(told):
        by.take(Mark(1, number, 2, time, state))
    made = OrderedBuffer((STREAM, TABLE), {TABLE: by})
    for key in (STREAM, TABLE):
        made.caught_up(key, True)
    return made, by


def taken(found: Any) -> tuple[str, list[int]] | None:
    return None if found is None else (found.topic, [record.timestamp for record in found.records])


def test_no_record_is_taken_before_those_that_write_the_table_have_come_as_far() -> None:
    made, told = buffer((50, ProducerState.BEHIND), (90, ProducerState.BEHIND))
    made.offer(STREAM, records(40, 50, 60, 99), 4, 100)
    made.caught_up(STREAM, True)
    assert taken(made.next_run()) == ("orders", [40, 50])
    assert made.next_run() is None
    assert made.waiting() == ()  # the reported time starts the wait
    assert made.waiting() == (TABLE,)
    told.take(Mark(1, 0, 2, 70, ProducerState.BEHIND))
    assert made.waiting() == ()  # and restarts it
    assert taken(made.next_run()) == ("orders", [60])
    assert taken(made.next_run(wait=False)) == ("orders", [99])


def test_an_upstream_task_without_backlog_is_not_waited_for() -> None:
    made, told = buffer((50, ProducerState.LIVE), (90, ProducerState.BEHIND))
    made.offer(STREAM, records(40, 50, 60, 99), 4, 100)
    assert taken(made.next_run()) == ("orders", [40, 50, 60])
    told.take(Mark(1, 1, 2, 90, ProducerState.IDLE))
    assert taken(made.next_run()) == ("orders", [99])


def test_a_row_that_lies_behind_newer_ones_comes_before_what_is_newer_than_it() -> None:
    made, _ = buffer((70, ProducerState.BEHIND), (90, ProducerState.BEHIND))
    made.offer(TABLE, records(80, 20), 2, 10)
    made.offer(TABLE, records(85, 30, 88), 5, 10)
    made.offer(STREAM, records(25, 60), 2, 10)
    made.caught_up(STREAM, True)
    found = [taken(made.next_run()) for _ in range(6)]
    assert found == [
        ("prices-repartition", [80, 20]),
        ("orders", [25]),
        ("prices-repartition", [85, 30]),
        ("orders", [60]),
        ("prices-repartition", [88]),
        None,
    ]


def test_reported_times_follow_a_long_buffer() -> None:
    made, _ = buffer((50, ProducerState.BEHIND), (90, ProducerState.BEHIND))
    made.offer(STREAM, records(60), 1, 10)
    made.offer(TABLE, records(70, 71), 2, MUCH + 1)
    assert taken(made.next_run(1)) == ("prices-repartition", [70])
    assert made.next_run() is None
    assert taken(made.next_run(wait=False)) == ("orders", [60])
