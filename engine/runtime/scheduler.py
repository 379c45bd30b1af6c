"""The decision which tasks may run, and up to which event time.

Within a task records are processed in order of event time (see `tasks/buffer.py`). Between tasks the order matters only
if they write to a repartition topic before a step that drops late records: such tasks are aligned with each other, and
do not run too far ahead of those in other processes. Tasks wait for an input without records, but only for a limited
time. The rules are in `tasks/flow_control.py` and `watermarks/remote_progress.py`; this module keeps the start times of
waits.
"""

from __future__ import annotations

from collections.abc import Collection

from ..clock import Clock
from ..ids import TaskId
from ..tasks.flow_control import time_limits
from ..tasks.task import Task
from ..watermarks.remote_progress import RemoteProgress

__all__ = ["Scheduler"]

HEARD_MS = 100
"""How often the reported progress of tasks in other processes is read."""


class Scheduler:
    """Schedules the tasks of one process."""

    def __init__(self, clock: Clock, idle: int) -> None:
        """Create it; tasks wait `idle` ms for an input without records."""
        self._clock = clock
        self._idle = idle
        self._waiting_since: dict[TaskId, int] = {}
        """Since when a task has waited for one of its own inputs."""
        self._silent_since: dict[TaskId, int] = {}
        """Since when other tasks have waited for a task."""
        self._remote_progress = RemoteProgress(idle)
        self._heard = -HEARD_MS

    def runnable(self, tasks: Collection[Task]) -> list[tuple[Task, int | None]]:
        """Return the tasks that may run, each with its event-time limit."""
        free: list[tuple[Task, int | None]] = []
        aligned: dict[int, list[Task]] = {}
        for task in tasks:
            if task.subtopology.alignment is None:
                free.append((task, None))
            else:
                aligned.setdefault(task.id.subtopology, []).append(task)
        now = self._clock.monotonic()
        if aligned and not 0 <= now - self._heard < HEARD_MS:
            self._heard = now
            running = [task for group in aligned.values() for task in group]
            here = {(task.subtopology.mark_id, task.id.partition) for task in running}
            self._remote_progress.note((mark for task in tasks for mark in task.time.behind()), here, now)
        for group in aligned.values():
            apart = group[0].subtopology.alignment or 0
            bound = self._remote_progress.until(group[0].subtopology.mark_id, apart, now)
            free += self._side_by_side(group, apart, bound)
        return free

    def waits_for_input(self, task: Task) -> bool:
        """Return whether the task must still wait for its own inputs without records."""
        if not task.waiting():
            self._waiting_since.pop(task.id, None)
            return True
        return not self._long_enough(self._waiting_since, task.id)

    def forget(self, task: TaskId) -> None:
        """Forget a task that has left this process."""
        for memory in (self._waiting_since, self._silent_since):
            memory.pop(task, None)

    def _side_by_side(self, tasks: list[Task], apart: int, bound: int | None) -> list[tuple[Task, int | None]]:
        times = {task.id: task.next_time() for task in tasks}
        silent = {task.id for task in tasks if times[task.id] is None and task.may_receive()}
        for task in tasks:
            if task.id not in silent:
                self._silent_since.pop(task.id, None)
        if all(time is None for time in times.values()):
            return []
        waited = [self._long_enough(self._silent_since, task) for task in silent]
        if not all(waited):
            return []
        until = time_limits(times, apart)
        if bound is None:
            return [(task, until[task.id]) for task in tasks if task.id in until]
        return [
            (task, until[task.id] if own < 0 else min(until[task.id], bound + max(0, (times[task.id] or 0) - own)))
            for task in tasks
            if task.id in until
            for own in (task.reported_time(),)
        ]

    def _long_enough(self, since: dict[TaskId, int], task: TaskId) -> bool:
        now = self._clock.monotonic()
        return now - since.setdefault(task, now) > self._idle
