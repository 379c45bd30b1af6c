"""Tests of watermarks between tasks: as records, in offset metadata, and how often they are sent."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.watermarks.mark_emitter import MARKS_A_SECOND, MarkedTopic, MarkEmitter
from tidemill.engine.watermarks.records import (
    FOREVER,
    Mark,
    ProducerState,
    ReceivedMarks,
    UpstreamTasks,
    mark_id,
    mark_row,
    split_marks,
)
from tidemill.operators.record import Batch

PART = UpstreamTasks(mark_id("in"), 3)


def mark(
    number: int,
    time: int,
    state: ProducerState = ProducerState.BEHIND,
    width: int = 3,
    subtopology: int = PART.subtopology,
) -> Mark:
    return Mark(subtopology, number, width, time, state)


def batch(*rows: Any) -> Batch:
    keys, values, times, headers, _ = zip(*rows, strict=True)
    offsets = list(range(10, 10 + len(rows)))
    return Batch("t", 0, list(keys), list(values), list(times), offsets, [tuple(h) if h else () for h in headers], 5)


def test_watermark_records_are_distinguished_from_other_records() -> None:
    data = (b"k", b"v", 5, [("a", b"b")], -1)
    foreign = (None, None, 5, [("tidemill-time", b"of a later version")], -1)
    tombstone = (None, None, 6, None, -1)
    records, marks = split_marks(batch(mark_row(mark(1, 7), 0), data, foreign, tombstone, mark_row(mark(2, -1), 0)))
    assert marks == [(10, mark(1, 7)), (14, mark(2, -1))]
    assert records == Batch("t", 0, [b"k", None], [b"v", None], [5, 6], [11, 13], [(("a", b"b"),), ()], 5)
    assert split_marks(batch(mark_row(mark(1, 7), 0))) == (None, [(10, mark(1, 7))])
    only = batch(data)
    assert split_marks(only) == (only, [])


def test_the_time_of_an_input_is_that_of_the_task_that_is_furthest_behind() -> None:
    told = ReceivedMarks(PART)
    assert (told.time, told.reached, told.idle, told.live) == (-1, -1, False, False)
    for number, time in ((0, 50), (1, 70)):
        assert told.take(mark(number, time))
    assert told.time == -1  # one task has sent nothing yet
    told.take(mark(2, 20))
    assert (told.time, told.reached) == (20, 20)
    told.take(mark(2, 30, ProducerState.IDLE))
    assert (told.time, told.reached) == (50, 50)
    told.take(mark(0, 60, ProducerState.LIVE))
    assert (told.time, told.reached) == (60, 70)
    told.take(
        mark(1, 65, ProducerState.LIVE)
    )  # repeated by another owner with at-least-once: the earlier one was higher
    assert (told.time, told.reached, told.live) == (60, FOREVER, True)
    told.take(mark(0, 60, ProducerState.IDLE))
    told.take(mark(1, 70, ProducerState.IDLE))
    assert (told.time, told.idle) == (70, True)
    assert not told.take(
        mark(1, 90, subtopology=PART.subtopology + 1)
    )  # of a sub-topology that does not write the topic any more
    assert not told.take(mark(3, 90))
    assert told.take(mark(3, 10, width=5))  # the topic upstream has more partitions than this process has heard of
    assert told.time == -1
    told.take(mark(4, 80, width=5))
    assert told.time == 10


@given(
    st.integers(0, (1 << 32) - 1),
    st.dictionaries(
        st.integers(0, 300),
        st.tuples(st.integers(-1, 1 << 50), st.sampled_from(ProducerState)),
        min_size=1,
        max_size=40,
    ),
    st.integers(0, 3),
)
def test_received_watermarks_are_stored_in_offset_metadata(subtopology: int, kept: Any, more: int) -> None:
    """The tasks that are waited for, and the minimum: a restart may wait for more than necessary, never for less."""
    width = max(kept) + 1 + more
    told = ReceivedMarks(UpstreamTasks(subtopology, width))
    for number, (time, state) in kept.items():
        told.take(Mark(subtopology, number, width, time, state))
    text = str(told)
    assert len(text) < 350
    assert not set(text) & {";", "="}
    again = ReceivedMarks(UpstreamTasks(subtopology, width), text)
    assert (again.time, again.idle, again.live, str(again)) == (told.time, told.idle, told.live, text)
    assert again.reached <= told.reached
    assert {number: state for number, (_, state) in again._by_task.items()} == {
        n: state for n, (_, state) in kept.items()
    }
    assert ReceivedMarks(UpstreamTasks(subtopology ^ 1, width), text)._by_task == {}
    assert ReceivedMarks(UpstreamTasks(subtopology, 1), text)._by_task.keys() <= {0}
    assert ReceivedMarks(UpstreamTasks(subtopology, width), "x" + text)._by_task == {}
    assert str(ReceivedMarks(UpstreamTasks(subtopology, 4_000), text)) in (text, "")


def test_the_newest_watermark_survives_a_restart_even_if_its_senders_are_idle() -> None:
    """The time that was kept is that of a task that had nothing to read yet, and then was idle as well."""
    told = ReceivedMarks(PART)
    for one in (mark(0, 90, ProducerState.IDLE), mark(1, 70, ProducerState.LIVE), mark(2, -1)):
        told.take(one)
    again = ReceivedMarks(PART, str(told))
    assert (again.time, again.idle) == (-1, False)
    again.take(mark(2, -1, ProducerState.IDLE))
    again.take(mark(1, 70, ProducerState.IDLE))
    assert (again.time, again.idle) == (90, True)
    assert ReceivedMarks(PART, str(again)).time == 90


def test_how_often_a_task_sends_its_watermark() -> None:
    mark_emitter = MarkEmitter(1, 3, 40, {9: MarkedTopic("r", 50, 10)})
    pause = 1_000 * 40 * 50 // MARKS_A_SECOND
    assert not mark_emitter.begun
    [out] = mark_emitter.marks(9, -1, ProducerState.BEHIND, 1_000)
    assert mark_emitter.begun
    assert out.topic == "r"
    assert [row[4] for row in out.rows] == list(range(50))
    assert mark_emitter.marks(9, 5, ProducerState.BEHIND, 1_000 + pause - 1) == []
    assert mark_emitter.marks(9, 5, ProducerState.BEHIND, 1_000 + pause) != []
    now = 5_000
    for time, state, tells in (
        (9, ProducerState.BEHIND, False),  # the same grain
        (12, ProducerState.BEHIND, True),
        (12, ProducerState.LIVE, True),
        (19, ProducerState.LIVE, False),
        (20, ProducerState.LIVE, True),
        (30, ProducerState.IDLE, True),
        (90, ProducerState.IDLE, False),  # no task waits for it
        (90, ProducerState.LIVE, True),
    ):
        now += pause
        assert bool(mark_emitter.marks(9, time, state, now)) is tells
    assert mark_emitter.marks(9, 90, ProducerState.LIVE, now + 59_999) == []
    assert (
        mark_emitter.marks(9, 90, ProducerState.LIVE, now + 60_000) != []
    )  # a restarted task knows only the minimum of all
    now += 60_000
    assert mark_emitter.marks(9, 200, ProducerState.LIVE, now) == []
    assert mark_emitter.marks(9, 200, ProducerState.LIVE, now, at_once=True) != []
    assert mark_emitter.marks(9, 201, ProducerState.LIVE, now, at_once=True) != []
    assert mark_emitter.marks(9, 201, ProducerState.LIVE, now, at_once=True) == []


def test_a_task_that_only_waits_for_a_backlog_receives_nothing_else() -> None:
    mark_emitter = MarkEmitter(1, 0, 1, {9: MarkedTopic("r", 1, None)})
    now = 0
    for time, state, tells in (
        (5, ProducerState.BEHIND, True),
        (5, ProducerState.BEHIND, False),
        (6, ProducerState.BEHIND, True),
        (6, ProducerState.LIVE, True),
        (900, ProducerState.LIVE, False),
    ):
        now += 1_000
        assert bool(mark_emitter.marks(9, time, state, now)) is tells
