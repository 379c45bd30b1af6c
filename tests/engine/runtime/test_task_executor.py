"""Tests of the task executor: the time of a turn is bounded, and each task gets its turn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.runtime.bisection import RejectedRecordSearch
from tidemill.engine.runtime.reports import GroupReporter
from tidemill.engine.runtime.task_executor import TaskExecutor
from tidemill.engine.tasks.flow_control import turn_ends
from tidemill.engine.tasks.task import Task

INTERVAL = 100
MOST = 1000


class SlowTask:
    """A task that takes this many ms per record, result and tick, with an unlimited number of them."""

    subtopology = cast("Any", type("Part", (), {"alignment": None}))

    def __init__(self, clock: ManualClock, number: int, each: int, tick: int = 0, answer: int | None = None) -> None:
        self._clock = clock
        self._each = each
        self._tick = tick
        self._answer = answer
        self.id = TaskId(0, number)
        self.records_in = self.ticks = self.answers = 0
        self.calling = 0 if answer is None else 1_000_000

    def waiting(self) -> tuple[()]:
        return ()

    def advance(self, _now: int, limit: int, _wait: bool, _until: int | None, _left_out: object) -> list[Any]:
        self._clock.sleep(limit * self._each)
        self.records_in += limit
        return []

    def tick(self, _now: int) -> list[Any]:
        self._clock.sleep(self._tick)
        self.ticks += 1
        return []

    def collect(self, _now: int, limit: int) -> list[Any]:
        assert self._answer is not None
        self._clock.sleep(limit * self._answer)
        self.answers += limit
        self.calling -= limit
        return []


class Office:
    """Run turns, with a commit after each turn in which it is due."""

    def __init__(self, count: int, **costs: int) -> None:
        self.clock = ManualClock(1_000_000)
        self.tasks = {one.id: one for one in (SlowTask(self.clock, number, **costs) for number in range(count))}
        nobody = cast("Any", type("Nobody", (), {"lags": lambda _: {}}))
        self.work = TaskExecutor(self.clock, GroupReporter(nobody, nobody, nobody, self.clock), 0, MOST, has_calls=True)
        self.last_commit = self.clock.monotonic()
        self.longest_turn = self.longest_silence = 0

    def turns(self, seconds: int) -> None:
        end = self.clock.monotonic() + 1000 * seconds
        while self.clock.monotonic() < end:
            began = heard = self.clock.monotonic()
            until = turn_ends(began, self.last_commit, INTERVAL)
            for _ in self.work.turn(cast("Mapping[TaskId, Task]", self.tasks), until, RejectedRecordSearch()):
                self.longest_silence = max(self.longest_silence, self.clock.monotonic() - heard)
                heard = self.clock.monotonic()
            self.longest_turn = max(self.longest_turn, self.clock.monotonic() - began)
            if self.clock.monotonic() - self.last_commit >= INTERVAL:
                self.last_commit = self.clock.monotonic()


def shares(counts: list[int]) -> float:
    """Return the smallest share, relative to equal shares."""
    return min(counts) * len(counts) / sum(counts)


def test_one_task_of_two_seconds_a_record() -> None:
    office = Office(1, each=2000)
    office.turns(60)
    assert office.longest_silence <= 4000
    assert office.longest_turn <= 4000
    assert office.tasks[TaskId(0, 0)].records_in >= 28


def test_a_hundred_tasks_of_a_tenth_of_a_second_a_record() -> None:
    office = Office(100, each=100)
    office.turns(100)
    assert office.longest_turn <= INTERVAL + 200
    assert shares([task.records_in for task in office.tasks.values()]) >= 0.8


@pytest.mark.parametrize("costs", [{"tick": 1000}, {"answer": 500}, {"tick": 300, "answer": 300}])
def test_a_slow_task_stops_no_other(costs: dict[str, int]) -> None:
    office = Office(20, each=200, **costs)
    office.turns(200)
    assert office.longest_silence <= 1000
    assert office.longest_turn <= 3000
    for what in ("records_in", "ticks", *(["answers"] if "answer" in costs else [])):
        assert shares([getattr(task, what) for task in office.tasks.values()]) >= 0.5, what


def test_fast_tasks_have_long_runs_and_all_of_them_a_round() -> None:
    office = Office(50, each=0)
    seen: Counter[int] = Counter()
    for _ in office.work.turn(
        cast("Mapping[TaskId, Task]", office.tasks), office.clock.monotonic() + 20, RejectedRecordSearch()
    ):
        seen.update(one.id.partition for one in office.tasks.values() if one.records_in)
        if len(seen) == 50:
            break
    assert len(seen) == 50


def test_a_task_that_is_opened_again_keeps_its_measured_cost() -> None:
    office = Office(2, each=1000)
    office.turns(20)
    task = office.tasks[TaskId(0, 1)]
    office.work.forget(task.id)
    before = task.records_in
    office.longest_silence = 0
    office.turns(10)
    assert task.records_in > before
    assert office.longest_silence <= 1000


def test_a_program_without_async_calls_is_not_polled_for_results() -> None:
    office = Office(3, each=1)
    office.work = TaskExecutor(office.clock, office.work._reports, 0, MOST, has_calls=False)
    for task in office.tasks.values():
        del task.calling
    office.turns(1)
    assert all(task.records_in for task in office.tasks.values())
