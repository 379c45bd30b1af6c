"""The histories among the inputs of a task: what is read now, and when one has ended."""

from __future__ import annotations

import pytest

import tidemill as tm
from tidemill.engine.calls.async_calls import AsyncCallExecutor
from tidemill.engine.history.in_memory import first_inputs
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import partition, plan
from tidemill.engine.tasks.history_inputs import HistoryInputs, inputs_now
from tidemill.engine.tasks.task import Task
from tidemill.engine.watermarks.watermarks import InputProgress, seen_in
from tidemill.operators.history.end_marker import end_row, without_ends
from tidemill.operators.record import Batch
from tidemill.state.store import Position

LIVE, OLD, OTHER = ("views", 1), ("app-views-history-repartition", 1), ("orders", 1)
HISTORIES = {OLD[0]: LIVE[0]}
ENDED = str(InputProgress(5, 6, begins=70))


@pytest.mark.parametrize(
    ("committed", "batch", "now", "begin"),
    [
        ({}, False, (OLD, OTHER), {}),
        ({OLD: "n=5;a=6"}, False, (OLD, OTHER), {}),
        ({OLD: ENDED}, False, (LIVE, OTHER), {LIVE: OLD}),
        ({OLD: ENDED, LIVE: "t=1"}, False, (LIVE, OTHER), {}),
        ({LIVE: "t=1"}, False, (LIVE, OTHER), {}),
        ({OLD: ENDED}, True, (OLD, OTHER), {}),
        ({OLD: ENDED, LIVE: "t=1"}, True, (OLD, OTHER), {}),
    ],
)
def test_which_inputs_are_read(committed: dict[tuple[str, int], str], batch: bool, now: object, begin: object) -> None:
    assert inputs_now((LIVE, OLD, OTHER), HISTORIES, committed, batch=batch) == (now, begin)


def test_a_partition_without_a_history_is_read_at_once() -> None:
    """The topic has got it after the history was planned."""
    assert inputs_now((LIVE,), HISTORIES, {}, batch=False) == ((LIVE,), {})


def batch_with_end(first: int) -> Batch:
    key, value, time, headers, _ = end_row(1, 70)
    assert headers is not None
    return Batch(*OLD, [b"k", key], [b"v", value], [1, time], [first, first + 1], [(), tuple(headers)], 9)


def test_an_end_is_noted_when_it_is_processed() -> None:
    inputs = HistoryInputs((OLD, OTHER), HISTORIES, {})
    assert inputs.awaits(OLD)
    assert not inputs.awaits(OTHER)
    left = inputs.take(OLD, batch_with_end(10))
    assert left is not None
    assert left.offsets == [10]
    assert not inputs.awaits(OLD)
    seen: dict[tuple[str, int], InputProgress] = {}
    inputs.mark(seen, {OLD: 11, OTHER: 0})
    assert not seen
    assert not inputs.ended({OLD: 11, OTHER: 0})
    inputs.mark(seen, {OLD: 12, OTHER: 0})
    assert seen_in(str(seen[OLD])).begins == 70
    assert inputs.ended({OLD: 12, OTHER: 0})


def test_an_end_that_was_committed_stays_noted() -> None:
    inputs = HistoryInputs((OLD,), HISTORIES, {OLD: seen_in(ENDED)})
    assert not inputs.awaits(OLD)
    seen: dict[tuple[str, int], InputProgress] = {}
    inputs.mark(seen, {OLD: 99})
    assert seen[OLD].begins == 70
    assert not inputs.ended({OLD: 99})


def test_a_batch_of_an_end_alone_is_empty() -> None:
    whole = batch_with_end(4)
    assert without_ends(whole._replace(headers=None)) == (whole._replace(headers=None), ())
    alone = whole.after(0)
    assert alone is not None
    assert without_ends(alone) == (None, [(5, 70)])


def test_a_history_is_waited_for_until_its_end() -> None:
    """Its partition may be at its end for now: what other inputs have may still be newer."""
    app = tm.App("app")
    views = app.stream("views", key=tm.utf8, value=tm.utf8, history="file:///lake")
    views.merge(app.stream("orders", key=tm.utf8, value=tm.utf8)).to("out")
    [part, _] = plan(partition(app.topology()), "app", {"views": 2, "orders": 2}, {}).subtopologies
    task = Task(TaskId(0, 1), part, {}, first_inputs(part, 1), calls=AsyncCallExecutor())
    task.offer(Batch(*OTHER, [b"k"], [b"order"], [50], [0], None, 6), 0)
    for key in (OTHER, OLD):
        task.caught_up(key, True)
    assert task.advance(0, wait=False) is None
    task.offer(batch_with_end(0), 0)
    task.caught_up(OLD, True, 2)
    found: list[bytes | None] = []
    while (outgoing := task.advance(0)) is not None:
        found += [row[1] for out in outgoing for row in out.rows]
    assert found == [b"v", b"order"]
    task.prepare_commit()
    task.complete_commit(Position())
    assert task.time.histories.ended(task.committed())
