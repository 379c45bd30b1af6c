"""How much work each task is, for the group to spread: its share of time, smoothed, on a scale that stands still.

Pure. A task is not moved for noise, so a figure has to be worth believing: it is the mean of some minutes, coarse, and
changes only when the smoothed value has left its step of the scale by a margin. A task that has not been here for long
has no figure; the group then goes by the last one it knows.

    weight = IDLE + thousandths of the time that the task keeps a process busy

`IDLE` stands for what a task costs though it does nothing. It also keeps the differences between tasks that all do next
to nothing from counting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ..ids import TaskId
from .assignment import coarse

__all__ = ["IDLE", "SETTLED_MS", "Weights"]

IDLE = 64
MEMORY_MS = 120_000
"""The time after which what was so counts a third (1/e) of what is."""
SETTLED_MS = 120_000
"""For how long a task is watched before it has a figure: what it does first is to catch up."""
MARGIN = 1.2
"""A smoothed value that is out of its step of the scale by less than this factor does not change the figure."""


class Weights:
    """The weights of the tasks of one process."""

    def __init__(self) -> None:
        self._busy: dict[TaskId, int] = {}
        """Ms of work since the last look."""
        self._smooth: dict[TaskId, float] = {}
        self._since: dict[TaskId, int] = {}
        self._told: dict[TaskId, int] = {}
        self._looked: int | None = None

    def worked(self, task: TaskId, ms: int) -> None:
        """A task has kept the process busy for so long."""
        self._busy[task] = self._busy.get(task, 0) + ms

    def look(self, now: int, running: Iterable[TaskId]) -> Mapping[TaskId, int]:
        """The weights of the running tasks that are known well enough; `now` in ms of a monotonic clock."""
        tasks = set(running)
        for memory in (self._busy, self._smooth, self._since, self._told):
            for gone in memory.keys() - tasks:
                del memory[gone]
        elapsed = 0 if self._looked is None else now - self._looked
        self._looked = now
        for task in tasks:
            self._since.setdefault(task, now)
            busy = self._busy.pop(task, 0)
            if elapsed > 0:
                share = min(1000.0, 1000 * busy / elapsed)
                # The plain mean at first, or what a task did first would count for long.
                fresh = max(-math.expm1(-elapsed / MEMORY_MS), elapsed / (now - self._since[task] or elapsed))
                self._smooth[task] = share + (self._smooth.get(task, share) - share) * (1 - fresh)
            if task in self._smooth and now - self._since[task] >= SETTLED_MS:
                self._told[task] = steady(self._told.get(task), IDLE + self._smooth[task])
        return dict(self._told)


def steady(told: int | None, value: float) -> int:
    """The step of the coarse scale for a value; the one told before while it is not clearly another."""
    step = coarse(math.ceil(value))
    if told is None:
        return step
    if step > told:
        return told if coarse(math.ceil(value / MARGIN)) <= told else step
    return told if coarse(math.ceil(value * MARGIN)) >= told else step
