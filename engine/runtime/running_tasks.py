"""The running tasks of a process, with the reading of their inputs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from ...state.store import StateError, Store
from ...state.topic_partition import TopicPartition
from ..ids import TaskId
from ..serve.stats import Stats
from ..tasks.task import Task
from .housekeeping import Housekeeping
from .intake import Intake
from .task_executor import TaskExecutor

__all__ = ["RunningTasks"]

LOG = logging.getLogger("tidemill.loop")


class RunningTasks:
    """The open tasks that process records."""

    def __init__(self, intake: Intake, executor: TaskExecutor, housekeeping: Housekeeping, stats: Stats) -> None:
        self._intake = intake
        self._executor = executor
        self._housekeeping = housekeeping
        self._stats = stats
        self._tasks: dict[TaskId, Task] = {}

    @property
    def by_id(self) -> Mapping[TaskId, Task]:
        return self._tasks

    def start(self, task: Task) -> None:
        """Add a task and start reading its inputs."""
        self._tasks[task.id] = task
        self._intake.begin(task)

    def release_stores(self, tasks: Iterable[TaskId]) -> dict[TaskId, Mapping[str, Store]]:
        """Take the open stores out of tasks, which may only be closed afterwards."""
        return {task: self._tasks[task].release_stores() for task in tasks}

    def close(self, tasks: Iterable[TaskId]) -> None:
        """Close tasks and their stores; uncommitted work is dropped."""
        tasks = list(tasks)
        self._intake.end([self._tasks[task] for task in tasks])
        for task in tasks:
            self._stats.closed(self._tasks[task])
            try:
                self._tasks.pop(task).close()
            except StateError as failure:  # no data is lost, and it must not hide the reason for closing
                LOG.warning("task %s: %s; its next start replays more of its changelog", task, failure)
            self._executor.forget(task)
            self._housekeeping.forget(task)

    def close_all(self) -> None:
        """Close all tasks in the same way."""
        self.close(self._tasks)

    def limit(self, ends: Mapping[TopicPartition, int]) -> None:
        """Process inputs up to these offsets only, or on, after a commit.

        Records that tasks have buffered are dropped, since some may be behind the ends.
        """
        self._intake.limit(ends)
        for task in self._tasks.values():
            self._intake.rewind(task.discard())

    def stand(self, other: str, attempt: str) -> None:
        """Have the next commit say that all tasks stand still, in a cut-over with `other`."""
        for task in self._tasks.values():
            task.stand(task.role.stands(other, attempt))

    def stand_no_more(self) -> None:
        """Take that back, since the commit has failed."""
        for task in self._tasks.values():
            task.role = task.role.undone() if task.role.standing else task.role

    @property
    def dirty(self) -> bool:
        """Whether any task has work to commit."""
        return any(task.dirty for task in self._tasks.values())

    @property
    def dirty_bytes(self) -> int:
        """Estimated bytes of uncommitted changes."""
        return sum(task.dirty_bytes for task in self._tasks.values())

    @property
    def at_end(self) -> bool:
        """Whether all inputs are processed to where they end now."""
        return all(task.next_time() is None and not task.may_receive() for task in self._tasks.values())

    @property
    def calling(self) -> bool:
        """Whether any task waits for results of asynchronous calls."""
        return any(task.calling for task in self._tasks.values())
