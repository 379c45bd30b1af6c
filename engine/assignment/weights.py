"""Weights of tasks: the smoothed share of time that each keeps its process busy.

Pure. Noise must not move tasks, so a weight is a mean over minutes on a coarse scale, and changes only when the
smoothed value has left its step of the scale by a margin. A new task has no weight yet; the group then uses the last
known one.

    weight = IDLE + thousandths of the time that the task keeps the process busy

`IDLE` is the cost of a task without work. It also makes differences between nearly idle tasks negligible.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from ..ids import TaskId
from .assignment import coarse

__all__ = ["IDLE", "SETTLED_MS", "Weights"]

IDLE = 64
MEMORY_MS = 120_000
"""The time constant of the smoothing: older values lose all but a third (1/e) of their weight in this time."""
SETTLED_MS = 120_000
"""How long a task is observed before it has a weight: at first, it catches up."""
MARGIN = 1.2
"""The factor by which a smoothed value must leave its step of the scale before the weight changes."""


class Weights:
    """The weights of the tasks of one process."""

    def __init__(self) -> None:
        self._busy: dict[TaskId, int] = {}
        """Milliseconds of work since the last call of `look`."""
        self._smooth: dict[TaskId, float] = {}
        self._since: dict[TaskId, int] = {}
        self._reported: dict[TaskId, int] = {}
        self._looked: int | None = None

    def worked(self, task: TaskId, ms: int) -> None:
        """Add the time for which a task kept the process busy."""
        self._busy[task] = self._busy.get(task, 0) + ms

    def look(self, now: int, running: Iterable[TaskId]) -> Mapping[TaskId, int]:
        """Return the weights of running tasks that are known well enough.

        `now` is in milliseconds of a monotonic clock.
        """
        tasks = set(running)
        for memory in (self._busy, self._smooth, self._since, self._reported):
            for gone in memory.keys() - tasks:
                del memory[gone]
        elapsed = 0 if self._looked is None else now - self._looked
        self._looked = now
        for task in tasks:
            self._since.setdefault(task, now)
            busy = self._busy.pop(task, 0)
            if elapsed > 0:
                share = min(1000.0, 1000 * busy / elapsed)
                # The plain mean at first; otherwise the initial work would dominate for long.
                fresh = max(-math.expm1(-elapsed / MEMORY_MS), elapsed / (now - self._since[task] or elapsed))
                self._smooth[task] = share + (self._smooth.get(task, share) - share) * (1 - fresh)
            if task in self._smooth and now - self._since[task] >= SETTLED_MS:
                self._reported[task] = steady(self._reported.get(task), IDLE + self._smooth[task])
        return dict(self._reported)


def steady(reported: int | None, value: float) -> int:
    """Round a value to the coarse scale; keep the old weight unless the value left its step."""
    step = coarse(math.ceil(value))
    if reported is None:
        return step
    if step > reported:
        return reported if coarse(math.ceil(value / MARGIN)) <= reported else step
    return reported if coarse(math.ceil(value * MARGIN)) >= reported else step
