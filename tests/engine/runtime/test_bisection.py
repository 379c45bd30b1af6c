"""Tests of the bisection that finds a record that Kafka refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.engine.errors import Fatal, RecordRejected
from tidemill.engine.runtime.bisection import WIDEST, RejectedRecordSearch, of_row
from tidemill.operators.graph.history import PackedRows
from tidemill.operators.history.packed_rows import packed_row
from tidemill.operators.record import Outgoing


def driver(on_error: Any, build: Callable[[tm.Stream[str, int]], Any], **options: Any) -> Any:
    app = tm.App("test", on_error=on_error)
    build(app.stream("in", key=tm.utf8, value=tm.utf8).group_by_key().count().named("n").to_stream())
    return tm.testing.TopologyDriver(app, **options)


class Broker:
    """Commits the given rows, unless one of them is refused, without naming it."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.taken: list[int] = []
        self.refusals = 0

    def commit(self, outgoing: list[Outgoing], one_by_one: bool) -> None:
        rows = [(out, place, row[2]) for out in outgoing for place, row in enumerate(out.rows)]
        wrong = [(out, place) for out, place, time in rows if time in self.bad]
        if wrong:
            self.refusals += 1
            raise RecordRejected("no", "out", wrong[0] if one_by_one else None)
        self.taken += [time for _, _, time in rows]


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=6))
@examples(40)
def test_all_records_but_the_refused_ones_are_committed_in_order(count: int, bad: set[int]) -> None:
    broker, search, at = Broker(bad), RejectedRecordSearch(), 0
    with driver(tm.skip, lambda stream: stream.to("out", value=tm.int64)) as running:
        [task] = running._tasks.values()
        while at < count:
            end = min(count, at + search.limit(256))
            records = [tm.Record("k", 1, time, offset=time) for time in range(at, end)]
            rows: Any = [(b"k", b"v", record.timestamp, None, -1) for record in records]
            outgoing = search.without([Outgoing("out", rows, records, "to-out")])
            try:
                broker.commit(outgoing, search.one_by_one)
            except RecordRejected as failure:
                search.refused(failure, task)
                continue
            search.committed()
            at = end
        there = bad & set(range(count))
        assert broker.taken == [time for time in range(count) if time not in bad]
        assert running.dropped.get(("to-out", "error"), 0) == len(there)
        assert broker.refusals <= 10 * len(there)


def test_the_error_names_the_step_the_topic_and_the_input() -> None:
    with driver(tm.fail, lambda stream: stream.to("out", value=tm.int64)) as running:
        running.send("in", "k", "v", 5)
        [task] = running._tasks.values()
        out = Outgoing("out", [(b"k", b"1", 5, None, -1)], [tm.Record("k", 1, 5, offset=41)], "to-out")
        with pytest.raises(tm.RecordError) as caught:
            RejectedRecordSearch().refused(RecordRejected("topic 'out' does not take a record", "out", (out, 0)), task)
    assert str(caught.value).startswith(
        "step 'to-out' of task 0_0 could not write a record: topic 'out' does not take a record "
        "(the record: topic 'in', partition 0, offset 41"
    )


def test_refused_state_is_attributed_to_the_record_that_caused_it() -> None:
    refused = RecordRejected("too large", "test-n-changelog")
    for policy in (tm.skip, tm.fail):
        with driver(policy, lambda stream: stream.to("out", value=tm.int64)) as running:
            running.send("in", "k", "v", 5)
            [task] = running._tasks.values()
            search = RejectedRecordSearch()
            for _ in range(3):
                search.refused(refused, task)
            if policy is tm.fail:
                with pytest.raises(tm.RecordError, match="step 'n' of task 0_0 could not keep the state of a record"):
                    search.refused(refused, task)
                continue
            search.refused(refused, task)
            assert search.left_out == {("in", 0, 0)}
            assert running.dropped == {("n", "error"): 1}


def test_a_commit_without_results_that_wait_leaves_the_origin_of_the_last_records() -> None:
    with driver(tm.fail, lambda stream: stream.to("out", value=tm.int64)) as running:
        running.send("in", "k", "v", 5)
        [task] = running._tasks.values()
        assert task.origin.topic == "in"


def test_an_error_that_cannot_be_attributed_to_a_record_ends_the_program() -> None:
    refused, search = RecordRejected("no", "elsewhere"), RejectedRecordSearch()
    for _ in range(3):
        search.refused(refused, None)
    assert search.limit(1000) == 1
    with pytest.raises(RecordRejected):
        search.refused(refused, None)


def test_the_bisection_ends_when_enough_records_are_committed() -> None:
    search = RejectedRecordSearch()
    search.refused(RecordRejected("no"), None)
    assert search.limit(1000) == WIDEST
    search.committed()
    assert not search.open
    assert search.limit(1000) == 1000


@pytest.mark.parametrize(
    ("value", "partition", "reason"),
    [("x" * 2000, 0, "a record of 2,009 bytes for topic 'out'"), ("x", 7, "topic 'out' has 2 partitions")],
)
def test_the_driver_refuses_what_kafka_would(value: str, partition: int, reason: str) -> None:
    def build(on_error: Any) -> Any:
        app = tm.App("test", on_error=on_error)
        stream = app.stream("in", key=tm.utf8, value=tm.utf8)
        stream.to("out", value=tm.utf8, partition=lambda record: 0 if record.value == "good" else partition)
        return tm.testing.TopologyDriver(app, partitions=2, max_message_bytes=1000)

    with build(tm.fail) as running, pytest.raises(tm.RecordError, match=reason) as caught:
        running.send("in", "key-of-it", value, 1)
    assert isinstance(caught.value.__cause__, RecordRejected)
    with build(tm.skip) as running:
        running.send_all("in", [tm.Record("k", text, 1) for text in ("good", value, "good")])
        assert [record.value for record in running.read("out")] == ["good", "good"]
        assert running.dropped == {("to-out", "error"): 1}


def test_the_record_of_a_row_is_the_one_that_it_was_made_of() -> None:
    records = [tm.Record("a", 1, 1), tm.Record("b", 2, 2)]
    out = Outgoing("out", [(b"a", b"1", 1, None, -1), (b"b", b"2", 2, None, -1)], records, "s")
    assert of_row(RecordRejected("no", "out", (out, 1))).record is records[1]


def test_a_record_with_many_rows_of_a_history_is_not_dropped() -> None:
    packed = PackedRows(0, 2, 5, b"rows")
    out = Outgoing("topic", [packed_row(packed)], [tm.Record(None, None, 5)], "views-history")
    with pytest.raises(Fatal, match=r"too large. It has many rows of a history: .*max.message.bytes"):
        of_row(RecordRejected("too large", "topic", (out, 0)))
