"""Reports to the group, once per second: lags of standbys, weights and sizes of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..assignment.weights import Weights
from ..clock import Clock
from ..ids import TaskId
from ..serve.stats import Stats
from ..tasks.task import Task

__all__ = ["GroupReporter"]

REPORT_MS = 1_000


class ReportReceiver(Protocol):
    """The receiver of the reports."""

    def report(
        self, *, lags: Mapping[TaskId, int], weights: Mapping[TaskId, int], sizes: Mapping[TaskId, int]
    ) -> None: ...


class StandbyLags(Protocol):
    """The source of the lags of standbys."""

    def lags(self) -> Mapping[TaskId, int]: ...


class GroupReporter:
    """Reports the tasks of one process to the group."""

    def __init__(self, group: ReportReceiver, copies: StandbyLags, stats: Stats, clock: Clock) -> None:
        self._group = group
        self._copies = copies
        self._stats = stats
        self._clock = clock
        self._last = clock.monotonic()
        self._weights = Weights()

    def worked(self, task: TaskId, ms: int) -> None:
        """Record that a task has used the process for some time."""
        self._weights.worked(task, ms)

    def turn(self, tasks: Mapping[TaskId, Task]) -> None:
        """Send the report if it is due."""
        now = self._clock.monotonic()
        if now - self._last < REPORT_MS:
            return
        self._last = now
        lags = self._copies.lags()
        self._stats.copied({task: lag for task, lag in lags.items() if task not in tasks})
        self._group.report(
            lags=lags,
            weights=self._weights.look(now, tasks),
            sizes={task.id: sum(store.size() for store in task.stores.values()) for task in tasks.values()},
        )
