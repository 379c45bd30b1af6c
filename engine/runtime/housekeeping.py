"""What a process does beside its work, now and then: what was processed is deleted from repartition topics, stores are
written to disk.

When it is due is decided here and in `tasks/flow_control.py`; the loop calls after each turn and commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..clock import Clock
from ..ids import TaskId
from ..plan.plan import Plan
from ..tasks.flow_control import flush_due
from ..tasks.task import Task

__all__ = ["Flushing", "Purging"]

Key = tuple[str, int]


class Purging:
    """Lets the broker delete what repartition topics held for us and is committed."""

    def __init__(self, delete: Callable[[Mapping[Key, int]], None], clock: Clock, interval: int) -> None:
        """`delete` asks for the records before these offsets to be deleted; `interval` in ms."""
        self._delete = delete
        self._clock = clock
        self._interval = interval
        self._last = clock.monotonic()
        self._purged: dict[Key, int] = {}

    def turn(self, plan: Plan, tasks: Iterable[Task]) -> None:
        """Asks for what is due."""
        now = self._clock.monotonic()
        if now - self._last < self._interval:
            return
        self._last = now
        internal = {topic.name for topic in plan.internal if topic.kind == "repartition"}
        committed = {
            key: offset
            for task in tasks
            for key, offset in task.committed().items()
            if key[0] in internal and offset > 0
        }
        if committed != self._purged:
            self._purged = committed
            self._delete(committed)


class Flushing:
    """Writes stores to disk now and then, so that a restart after a crash replays less."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flushed: dict[TaskId, int] = {}
        """When a task's stores were last written to disk."""

    def turn(self, tasks: Iterable[Task]) -> None:
        """Begins to write the stores of one task: of those for which it is due, the one that has waited longest.

        Call it after a commit.
        """
        now = self._clock.monotonic()
        due = [task for task in tasks if flush_due(task.unflushed, now - self._flushed.setdefault(task.id, now))]
        if due:
            longest = min(due, key=lambda task: self._flushed[task.id])
            longest.flush()
            self._flushed[longest.id] = now

    def forget(self, task: TaskId) -> None:
        """The task is not here any more."""
        self._flushed.pop(task, None)
