"""Which tasks may go on, and how far.

Within a task records are taken in order of event time (see `tasks/buffer.py`); between tasks order matters only where
they feed a repartition topic before a step that drops late records: those go side by side, and not too far ahead of
those in other processes. An input that delivers nothing is waited for, but not for ever. The decisions are in
`tasks/flow_control.py` and `watermarks/remote_progress.py`; this file remembers since when somebody waits.
"""

from __future__ import annotations

from collections.abc import Collection

from ..clock import Clock
from ..ids import TaskId
from ..tasks.flow_control import horizons
from ..tasks.task import Task
from ..watermarks.remote_progress import Elsewhere

__all__ = ["Pace"]

HEARD_MS = 100
"""How often it is looked up what tasks elsewhere have told."""


class Pace:
    """Paces the tasks of one process."""

    def __init__(self, clock: Clock, idle: int) -> None:
        """`idle` ms is how long a silent input is waited for."""
        self._clock = clock
        self._idle = idle
        self._waiting_since: dict[TaskId, int] = {}
        """Since when a task waits for an input of its own."""
        self._silent_since: dict[TaskId, int] = {}
        """Since when others wait for a task."""
        self._elsewhere = Elsewhere(idle)
        self._heard = -HEARD_MS

    def next_up(self, tasks: Collection[Task]) -> list[tuple[Task, int | None]]:
        """The tasks that may go on, and up to what event time."""
        free: list[tuple[Task, int | None]] = []
        aligned: dict[int, list[Task]] = {}
        for task in tasks:
            if task.part.alignment is None:
                free.append((task, None))
            else:
                aligned.setdefault(task.id.subtopology, []).append(task)
        now = self._clock.monotonic()
        if aligned and not 0 <= now - self._heard < HEARD_MS:
            self._heard = now
            running = [task for group in aligned.values() for task in group]
            here = {(task.part.told_as, task.id.partition) for task in running}
            self._elsewhere.heard((told for task in tasks for told in task.time.told()), here, now)
        for group in aligned.values():
            apart = group[0].part.alignment or 0
            bound = self._elsewhere.until(group[0].part.told_as, apart, now)
            free += self._side_by_side(group, apart, bound)
        return free

    def must_wait(self, task: Task) -> bool:
        """Whether the task still has to wait for inputs of its own that deliver nothing."""
        if not task.waiting():
            self._waiting_since.pop(task.id, None)
            return True
        return not self._long_enough(self._waiting_since, task.id)

    def forget(self, task: TaskId) -> None:
        """The task is not here any more."""
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
        until = horizons(times, apart)
        if bound is None:
            return [(task, until[task.id]) for task in tasks if task.id in until]
        return [
            (task, until[task.id] if own < 0 else min(until[task.id], bound + max(0, (times[task.id] or 0) - own)))
            for task in tasks
            if task.id in until
            for own in (task.told_time(),)
        ]

    def _long_enough(self, since: dict[TaskId, int], task: TaskId) -> bool:
        now = self._clock.monotonic()
        return now - since.setdefault(task, now) > self._idle
