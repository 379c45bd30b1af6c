"""The end of a batch: which inputs it reads, up to where, and when it is done."""

from __future__ import annotations

import tidemill as tm
from tidemill.engine.history.batch_end import bounded_inputs, internal_inputs, is_done
from tidemill.engine.kafka.consumer import Polled
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.runtime.intake import up_to
from tidemill.operators.record import Batch

A, B, MADE = ("a", 0), ("b", 0), ("app-x-repartition", 0)


def test_a_batch_is_done_when_all_is_committed() -> None:
    assert is_done({A: 7, MADE: 3}, {A: 7}, {MADE: 3})
    assert not is_done({A: 6, MADE: 3}, {A: 7}, {MADE: 3})
    assert not is_done({A: 7, MADE: 2}, {A: 7}, {MADE: 3})
    assert is_done({A: 9}, {A: 7}, {MADE: 0})


def test_topics_after_a_history_are_not_read() -> None:
    app = tm.App("app")
    views = app.stream("views", key=tm.utf8, value=tm.json, history="file:///lake/*.parquet")
    orders = app.stream("orders", key=tm.utf8, value=tm.json)
    views.merge(orders).group_by(lambda value: value, key=tm.json).count().named("counts")
    made = plan(partition(app.topology()), "app", {"views": 2, "orders": 2}, {})
    assert bounded_inputs(made) == [("orders", 0), ("orders", 1)]
    assert {topic for topic, _ in internal_inputs(made)} == {
        "app-views-history-repartition",
        "app-views-history-pieces-repartition",
        "app-counts-repartition",
    }


def batch(*offsets: int) -> Batch:
    count = len(offsets)
    return Batch(*A, [None] * count, [None] * count, [1] * count, list(offsets), None, 0)


def test_what_comes_after_the_end_is_left_out() -> None:
    assert up_to(Polled([batch(1, 2)], {}), {A: 5}) == (Polled([batch(1, 2)], {}), set())
    assert up_to(Polled([batch(3, 4, 5, 6)], {}), {A: 5}) == (Polled([batch(3, 4)], {A: 5}), {A})
    assert up_to(Polled([batch(7)], {}), {A: 5}) == (Polled([], {A: 5}), {A})
    assert up_to(Polled([batch(7)], {B: 3}), {}) == (Polled([batch(7)], {B: 3}), set())
    assert up_to(Polled([], {A: 9}), {A: 5}) == (Polled([], {A: 5}), {A})
    assert up_to(Polled([batch(3)], {A: 4}), {A: 5}) == (Polled([batch(3)], {A: 4}), set())
