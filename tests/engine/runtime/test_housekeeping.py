"""Tests that every store is flushed regularly, however many tasks there are."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.ids import TaskId
from tidemill.engine.runtime.housekeeping import StoreFlusher
from tidemill.engine.tasks.flow_control import FLUSH_MS


class BusyTask:
    def __init__(self, clock: ManualClock, number: int) -> None:
        self.id = TaskId(0, number)
        self._clock = clock
        self.unflushed = 0
        self.flushed = [clock.monotonic()]

    def flush(self) -> None:
        self.unflushed = 0
        self.flushed.append(self._clock.monotonic())


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("interval", [100, 1000])
def test_all_stores_are_flushed_in_turn(count: int, interval: int) -> None:
    clock = ManualClock(0)
    tasks = [BusyTask(clock, number) for number in range(count)]
    flushing = StoreFlusher(clock)
    for _ in range(5 * max(FLUSH_MS, count * interval) // interval):
        clock.sleep(interval)
        for task in tasks:
            task.unflushed += 10
        flushing.turn(cast("Any", tasks))
    for task in tasks:
        waits = [later - before for before, later in zip(task.flushed, task.flushed[1:], strict=False)]
        assert waits
        assert max(waits) <= FLUSH_MS + (count + 1) * interval
        assert min(waits) >= FLUSH_MS


def test_idle_tasks_are_not_flushed() -> None:
    clock = ManualClock(0)
    quiet, busy = BusyTask(clock, 0), BusyTask(clock, 1)
    flushing = StoreFlusher(clock)
    for _ in range(200):
        clock.sleep(100)
        busy.unflushed += 1
        flushing.turn(cast("Any", [quiet, busy]))
    assert len(quiet.flushed) == 1
    assert len(busy.flushed) >= 3
