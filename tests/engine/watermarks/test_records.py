"""What tasks tell each other of their time: as records, as text beside an offset, and how often."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tidemill.engine.watermarks.emitter import MARKS_A_SECOND, Telling, Topic
from tidemill.engine.watermarks.records import FOREVER, Mark, Producers, State, Told, mark_row, split, told_as
from tidemill.operators.record import Batch

PART = Producers(told_as("in"), 3)


def mark(number: int, time: int, state: State = State.BEHIND, width: int = 3, part: int = PART.part) -> Mark:
    return Mark(part, number, width, time, state)


def batch(*rows: Any) -> Batch:
    keys, values, times, headers, _ = zip(*rows, strict=True)
    offsets = list(range(10, 10 + len(rows)))
    return Batch("t", 0, list(keys), list(values), list(times), offsets, [tuple(h) if h else () for h in headers], 5)


def test_marks_are_told_from_records() -> None:
    data = (b"k", b"v", 5, [("a", b"b")], -1)
    foreign = (None, None, 5, [("tidemill-time", b"of a later version")], -1)
    tombstone = (None, None, 6, None, -1)
    records, marks = split(batch(mark_row(mark(1, 7), 0), data, foreign, tombstone, mark_row(mark(2, -1), 0)))
    assert marks == [(10, mark(1, 7)), (14, mark(2, -1))]
    assert records == Batch("t", 0, [b"k", None], [b"v", None], [5, 6], [11, 13], [(("a", b"b"),), ()], 5)
    assert split(batch(mark_row(mark(1, 7), 0))) == (None, [(10, mark(1, 7))])
    only = batch(data)
    assert split(only) == (only, [])


def test_the_time_of_an_input_is_that_of_the_task_that_is_furthest_behind() -> None:
    told = Told(PART)
    assert (told.time, told.reached, told.idle, told.live) == (-1, -1, False, False)
    for number, time in ((0, 50), (1, 70)):
        assert told.take(mark(number, time))
    assert told.time == -1  # one has told nothing yet
    told.take(mark(2, 20))
    assert (told.time, told.reached) == (20, 20)
    told.take(mark(2, 30, State.IDLE))
    assert (told.time, told.reached) == (50, 50)
    told.take(mark(0, 60, State.LIVE))
    assert (told.time, told.reached) == (60, 70)
    told.take(mark(1, 65, State.LIVE))  # repeated by another owner, at least once: it had told more before
    assert (told.time, told.reached, told.live) == (60, FOREVER, True)
    told.take(mark(0, 60, State.IDLE))
    told.take(mark(1, 70, State.IDLE))
    assert (told.time, told.idle) == (70, True)
    assert not told.take(mark(1, 90, part=PART.part + 1))  # of a sub-topology that does not write the topic any more
    assert not told.take(mark(3, 90))
    assert told.take(mark(3, 10, width=5))  # the topic upstream has more partitions than this process has heard of
    assert told.time == -1
    told.take(mark(4, 80, width=5))
    assert told.time == 10


@given(
    st.integers(0, (1 << 32) - 1),
    st.dictionaries(
        st.integers(0, 300), st.tuples(st.integers(-1, 1 << 50), st.sampled_from(State)), min_size=1, max_size=40
    ),
    st.integers(0, 3),
)
def test_what_was_told_is_kept_beside_an_offset(part: int, kept: Any, more: int) -> None:
    """Who waits for what, and the least time: a restart may wait longer than it had to, never for less."""
    width = max(kept) + 1 + more
    told = Told(Producers(part, width))
    for number, (time, state) in kept.items():
        told.take(Mark(part, number, width, time, state))
    text = str(told)
    assert len(text) < 350
    assert not set(text) & {";", "="}
    again = Told(Producers(part, width), text)
    assert (again.time, again.idle, again.live, str(again)) == (told.time, told.idle, told.live, text)
    assert again.reached <= told.reached
    assert {number: state for number, (_, state) in again._told.items()} == {n: state for n, (_, state) in kept.items()}
    assert Told(Producers(part ^ 1, width), text)._told == {}
    assert Told(Producers(part, 1), text)._told.keys() <= {0}
    assert Told(Producers(part, width), "x" + text)._told == {}
    assert str(Told(Producers(part, 4_000), text)) in (text, "")


def test_the_newest_time_outlives_a_restart_though_those_that_told_it_are_idle_and_tell_it_no_more() -> None:
    """The time that was kept is that of a task that had nothing to read yet, and then was idle as well."""
    told = Told(PART)
    for one in (mark(0, 90, State.IDLE), mark(1, 70, State.LIVE), mark(2, -1)):
        told.take(one)
    again = Told(PART, str(told))
    assert (again.time, again.idle) == (-1, False)
    again.take(mark(2, -1, State.IDLE))
    again.take(mark(1, 70, State.IDLE))
    assert (again.time, again.idle) == (90, True)
    assert Told(PART, str(again)).time == 90


def test_a_task_tells_of_itself_as_often_as_it_must_and_may() -> None:
    telling = Telling(1, 3, 40, {9: Topic("r", 50, 10)})
    pause = 1_000 * 40 * 50 // MARKS_A_SECOND
    assert not telling.begun
    [out] = telling.marks(9, -1, State.BEHIND, 1_000)
    assert telling.begun
    assert out.topic == "r"
    assert [row[4] for row in out.rows] == list(range(50))
    assert telling.marks(9, 5, State.BEHIND, 1_000 + pause - 1) == []
    assert telling.marks(9, 5, State.BEHIND, 1_000 + pause) != []
    now = 5_000
    for time, state, tells in (
        (9, State.BEHIND, False),  # the same grain
        (12, State.BEHIND, True),
        (12, State.LIVE, True),
        (19, State.LIVE, False),
        (20, State.LIVE, True),
        (30, State.IDLE, True),
        (90, State.IDLE, False),  # nobody waits for it
        (90, State.LIVE, True),
    ):
        now += pause
        assert bool(telling.marks(9, time, state, now)) is tells
    assert telling.marks(9, 90, State.LIVE, now + 59_999) == []
    assert telling.marks(9, 90, State.LIVE, now + 60_000) != []  # who was restarted knows the least of all only
    now += 60_000
    assert telling.marks(9, 200, State.LIVE, now) == []
    assert telling.marks(9, 200, State.LIVE, now, at_once=True) != []


def test_who_only_waits_for_a_backlog_is_told_of_nothing_else() -> None:
    telling = Telling(1, 0, 1, {9: Topic("r", 1, None)})
    now = 0
    for time, state, tells in (
        (5, State.BEHIND, True),
        (5, State.BEHIND, False),
        (6, State.BEHIND, True),
        (6, State.LIVE, True),
        (900, State.LIVE, False),
    ):
        now += 1_000
        assert bool(telling.marks(9, time, state, now)) is tells
