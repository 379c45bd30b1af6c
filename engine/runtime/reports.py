"""What the group is told of a process's tasks, once a second: how far copies are, how heavy and how large tasks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..assignment.weights import Weights
from ..clock import Clock
from ..ids import TaskId
from ..serve.stats import Stats
from ..tasks.task import Task

__all__ = ["Reports"]

REPORT_MS = 1_000


class Group(Protocol):
    """Who is told."""

    def report(
        self, *, lags: Mapping[TaskId, int], weights: Mapping[TaskId, int], sizes: Mapping[TaskId, int]
    ) -> None: ...


class Copies(Protocol):
    """Who knows of copies."""

    def lags(self) -> Mapping[TaskId, int]: ...


class Reports:
    """Tells the group of the tasks of one process."""

    def __init__(self, group: Group, copies: Copies, stats: Stats, clock: Clock) -> None:
        self._group = group
        self._copies = copies
        self._stats = stats
        self._clock = clock
        self._last = clock.monotonic()
        self._weights = Weights()

    def worked(self, task: TaskId, ms: int) -> None:
        """A task has kept the process busy for so long."""
        self._weights.worked(task, ms)

    def turn(self, tasks: Mapping[TaskId, Task]) -> None:
        """Tells what is due."""
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
