"""Test that the simulation detects wrong event time downstream of a repartition, by breaking the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tidemill.engine.tasks import operator_graph
from tidemill.engine.watermarks import mark_receiver
from tidemill.engine.watermarks.records import ReceivedMarks, is_mark
from tidemill.engine.watermarks.watermarks import Watermarks
from tidemill.operators.aggregates.deduplicate import Deduplicate
from tidemill.operators.joins.windowed_table_join import WindowedTableJoin
from tidemill.operators.processors.window_state import WindowState

from .driver import Violation, run
from .log import Entry, Partition
from .scenario import Scenario, scenario
from .schedule import TIMED_SEEDS
from .test_notices import Break
from .timed import TIMED

MOST = 300
"""The number of schedules tried after the one in which the fault was detected last."""


def a_task_that_has_told_nothing_yet_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReceivedMarks, "complete", property(lambda self: bool(self._told)))


def what_was_told_is_forgotten_at_a_restart(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(mark_receiver, "ReceivedMarks", lambda producers, _kept: ReceivedMarks(producers))


def time_is_told_before_the_records_it_covers(patch: pytest.MonkeyPatch) -> None:
    """A task reports the time of its inputs, whatever its steps have buffered."""
    patch.setattr(
        operator_graph.OperatorGraph, "time_of", lambda self, _node: max(self._times[slot] for slot in self._clocks)
    )


def a_mark_counts_when_it_arrives(patch: pytest.MonkeyPatch) -> None:
    """And not only when the records before it are processed."""
    patch.setattr(mark_receiver.MarkReceiver, "processed", mark_receiver.MarkReceiver.arrived)


def the_fastest_task_tells_the_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ReceivedMarks, "time", property(lambda self: max((time for time, _ in self._told.values()), default=-1))
    )


def the_slower_input_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watermarks, "_least", lambda self, _but: max(seen.newest for seen in self._seen.values()) - 20_000)


def by_the_newest_record(kind: Any, patch: pytest.MonkeyPatch) -> None:
    """A step expires state by the newest record instead of by its watermark."""
    begin = kind.__init__

    def begin_without(self: Any, *arguments: Any, watermarked: bool, **options: Any) -> None:
        begin(self, *arguments, watermarked=False, **options)

    patch.setattr(kind, "__init__", begin_without)


def duplicates_are_forgotten_by_the_newest_record(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(Deduplicate, patch)


def joined_windows_are_forgotten_by_the_newest_record(patch: pytest.MonkeyPatch) -> None:
    by_the_newest_record(WindowedTableJoin, patch)


def window_states_are_forgotten_by_the_newest_record(patch: pytest.MonkeyPatch) -> None:
    bind = WindowState.bind
    patch.setattr(WindowState, "bind", lambda self, shelf, *, watermarked: bind(self, shelf, watermarked=False))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wrong", "last"),
    [
        (a_task_that_has_told_nothing_yet_is_not_waited_for, 58),
        (what_was_told_is_forgotten_at_a_restart, 266),
        (time_is_told_before_the_records_it_covers, 490),
        (a_mark_counts_when_it_arrives, 1546),
        (the_fastest_task_tells_the_time, 58),
        (the_slower_input_is_not_waited_for, 122),
        (duplicates_are_forgotten_by_the_newest_record, 10),
        (joined_windows_are_forgotten_by_the_newest_record, 26),
        (window_states_are_forgotten_by_the_newest_record, 10),
    ],
    ids=lambda value: value.__name__.replace("_", " ") if callable(value) else "",
)
def test_it_is_noticed_when(wrong: Break, last: int, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch)
    for seed in (last, *TIMED_SEEDS[:MOST]):
        try:
            run(seed)
        except (Violation, AssertionError):
            return
    pytest.fail(f"{MOST} schedules passed")


SLOW = {"commit_interval": 1_000}


def dies_with_marks_in_its_transaction(run: Scenario) -> None:
    """Kill a process with watermarks in its open transaction, which are aborted with it."""
    for _ in range(40):
        run.feed()
    first = run.start_process()
    run.until(lambda: len(first.tasks) == len(run.plan.tasks()), 2_000, "its tasks run")
    run.run_for(300)
    run.kill_and_remove(first)
    run.start_process()
    run.until_processed(20_000)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("program", sorted(TIMED))
def test_a_task_uses_committed_watermarks_only(seed: int, program: str) -> None:
    with scenario(seed, program=program, settings=SLOW) as run:
        dies_with_marks_in_its_transaction(run)


def test_the_simulation_detects_use_of_aborted_watermarks(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Partition.read

    def with_aborted(self: Partition, offset: int, end: int, *, committed: bool) -> Iterator[Entry]:
        for entry in read(self, offset, end, committed=False):
            if entry.committed or not committed or is_mark(entry.key, entry.value, entry.headers):
                yield entry

    monkeypatch.setattr(Partition, "read", with_aborted)
    with pytest.raises(Violation, match="closed: lacks"), scenario(0, program="alone", settings=SLOW) as run:
        dies_with_marks_in_its_transaction(run)
