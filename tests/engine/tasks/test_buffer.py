"""Tests of the input buffer: the order of processing does not depend on how inputs are cut into batches."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidemill import Record
from tidemill.engine.tasks.buffer import InputBuffer
from tidemill.engine.tasks.ordered_buffer import OrderedBuffer
from tidemill.engine.watermarks.records import ReceivedMarks

A, B, C = ("a", 0), ("b", 0), ("c", 0)
times = st.lists(st.integers(0, 20), max_size=12)


def records(stamps: list[int]) -> list[Record]:
    return [Record(None, index, stamp, (), index) for index, stamp in enumerate(stamps)]


def expected(inputs: dict[tuple[str, int], list[int]]) -> list[tuple[str, int]]:
    """Record by record: the smallest head, ties to the input named first."""
    left = {key: list(enumerate(stamps)) for key, stamps in inputs.items()}
    order: list[tuple[str, int]] = []
    while any(left.values()):
        key = min((k for k in left if left[k]), key=lambda k: (left[k][0][1], list(left).index(k)))
        order.append((key[0], left[key].pop(0)[0]))
    return order


@given(st.tuples(times, times, times), st.data())
def test_order_does_not_depend_on_cuts_or_limits(stamps: tuple[list[int], ...], data: st.DataObject) -> None:
    inputs = dict(zip((A, B, C), stamps, strict=False))
    buffer = InputBuffer(inputs)
    queues = {key: records(values) for key, values in inputs.items()}
    order: list[tuple[str, int]] = []
    next_offsets: dict[str, int] = {}
    while True:
        limit = data.draw(st.sampled_from([None, 1, 2, 3]))
        run = buffer.next_run(limit)
        if run is not None:
            assert run.records
            assert limit is None or len(run.records) <= limit
            order += [(run.topic, record.value) for record in run.records]
            assert run.next_offset == run.records[-1].offset + 1
            next_offsets[run.topic] = run.next_offset
            continue
        open_inputs = [key for key, queue in queues.items() if queue]
        if not open_inputs:
            if buffer.empty():
                break
            for key in queues:
                buffer.caught_up(key, True)
            continue
        key = data.draw(st.sampled_from(open_inputs))
        count = data.draw(st.integers(1, len(queues[key])))
        batch, queues[key] = queues[key][:count], queues[key][count:]
        buffer.offer(key, batch, batch[-1].offset + 1, 10 * count)
    assert order == expected(inputs)
    assert next_offsets == {key[0]: len(stamps) for key, stamps in inputs.items() if stamps}
    assert all(size == 0 for size in buffer.sizes().values())


def test_an_input_that_may_have_older_records_is_waited_for() -> None:
    buffer = InputBuffer([A, B])
    buffer.offer(A, records([5, 6]), 2, 20)
    assert buffer.next_run() is None
    assert buffer.waiting() == (B,)
    buffer.caught_up(B, True)
    run = buffer.next_run()
    assert run is not None
    assert len(run.records) == 2


def test_it_is_not_waited_for_if_disabled() -> None:
    buffer = InputBuffer([A, B])
    buffer.offer(A, records([5]), 1, 10)
    assert buffer.next_run(wait=False) is not None


def test_new_records_end_being_caught_up() -> None:
    buffer = InputBuffer([A, B])
    buffer.caught_up(B, True)
    buffer.offer(B, records([1]), 1, 10)
    assert buffer.next_run() is None, "A may still deliver something older"
    buffer.caught_up(A, True)
    assert buffer.next_run() is not None
    buffer.offer(A, records([9]), 1, 10)
    assert buffer.next_run() is None


def test_a_batch_without_usable_records_still_moves_the_offset() -> None:
    buffer = InputBuffer([A])
    buffer.offer(A, [], 7, 30)
    run = buffer.next_run()
    assert run is not None
    assert run.records == []
    assert run.next_offset == 7


def test_offsets_of_transaction_markers_are_processed_with_the_records_before_them() -> None:
    buffer = InputBuffer([A])
    assert buffer.reached(A, 5), "nothing waits"
    buffer.offer(A, records([1, 2]), 2, 10)
    assert not buffer.reached(A, 4)
    assert not buffer.reached(A, 3), "the furthest counts"
    first, second = buffer.next_run(1), buffer.next_run()
    assert first is not None
    assert second is not None
    assert (first.next_offset, second.next_offset) == (1, 4)


def test_clear_drops_everything() -> None:
    buffer = InputBuffer([A])
    buffer.offer(A, records([1, 2]), 2, 30)
    buffer.clear()
    assert buffer.empty()
    assert buffer.sizes() == {A: 0}
    assert buffer.next_run() is None


def test_an_input_whose_records_come_late_is_waited_for_in_any_case() -> None:
    """Its records have been read and cannot be decoded yet: later ones of other inputs do not overtake them."""
    told: dict[tuple[str, int], ReceivedMarks] = {}
    for buffer in (InputBuffer((A, B)), OrderedBuffer((A, B), told)):
        buffer.caught_up(A, True)
        buffer.await_input(A, True)
        buffer.offer(B, records([5]), 1, 10)
        assert buffer.next_run(wait=False) is None
        buffer.offer(A, records([3]), 1, 10)
        buffer.await_input(A, False)
        for topic in ("a", "b"):
            run = buffer.next_run(wait=False)
            assert run is not None
            assert run.topic == topic
