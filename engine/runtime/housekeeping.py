"""Periodic work besides processing.

It deletes processed records from repartition topics, flushes stores to disk, takes snapshots, reports tasks to the
group and to those that make savepoints, and collects garbage. Each component, or `tasks/flow_control.py`, decides when
it is due; the loop calls after each turn and commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..ids import TaskId
from ..plan.plan import Plan
from ..restore.task_factory import TaskEnvironment
from ..savepoints.member import Savepoints
from ..serve.stats import Stats
from ..snapshots.snapshotter import Snapshots
from ..tasks.flow_control import flush_due
from ..tasks.task import Task
from .garbage_collection import GarbageCollector
from .reports import GroupReporter

__all__ = ["Housekeeping", "RepartitionPurger", "StoreFlusher"]


class Housekeeping:
    """All periodic work of a process."""

    def __init__(
        self,
        purging: RepartitionPurger,
        snapshots: Snapshots,
        savepoints: Savepoints,
        environment: TaskEnvironment,
        reports: GroupReporter,
        stats: Stats,
        clock: Clock,
    ) -> None:
        self._purger = purging
        self._snapshots = snapshots
        self._savepoints = savepoints
        self._environment = environment
        self._reports = reports
        self._stats = stats
        self._flusher = StoreFlusher(clock)
        self._garbage_collector = GarbageCollector(clock)

    def turn(self, plan: Plan, tasks: Mapping[TaskId, Task]) -> None:
        """Do the work that is due after a turn."""
        self._savepoints.turn(plan, tasks.values())
        if not self._savepoints.active:
            self._purger.turn(plan, tasks.values())
        self._reports.turn(tasks)
        figures = self._snapshots.turn(tasks.values())
        if figures is not None:
            self._stats.snapshots = figures
        self._stats.targets = self._environment.targets.figures
        self._stats.calls = self._environment.calls.figures

    def ended(self, yes: bool) -> None:
        """Set whether the inputs of a batch are at their ends: then targets need not wait for more."""
        self._environment.targets.at_end = yes

    def committed(self, tasks: Mapping[TaskId, Task]) -> None:
        """Do the work that is due after a commit."""
        self._flusher.turn(tasks.values())
        self._garbage_collector.turn()

    def forget(self, task: TaskId) -> None:
        """Forget a task that no longer runs."""
        self._flusher.forget(task)


class RepartitionPurger:
    """Has the broker delete records of repartition topics that this process has committed."""

    def __init__(self, delete: Callable[[Mapping[TopicPartition, int]], None], clock: Clock, interval: int) -> None:
        """Create it; `delete` requests deletion of all records before offsets; `interval` in ms."""
        self._delete = delete
        self._clock = clock
        self._interval = interval
        self._last = clock.monotonic()
        self._purged: dict[TopicPartition, int] = {}

    def turn(self, plan: Plan, tasks: Iterable[Task]) -> None:
        """Request the deletion if it is due."""
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


class StoreFlusher:
    """Flushes stores to disk periodically, so that a restart after a crash replays less."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._flushed: dict[TaskId, int] = {}
        """When the stores of a task were last flushed."""

    def turn(self, tasks: Iterable[Task]) -> None:
        """Start flushing the stores of the task that is due for the longest time.

        Must be called after a commit.
        """
        now = self._clock.monotonic()
        due = [task for task in tasks if flush_due(task.unflushed, now - self._flushed.setdefault(task.id, now))]
        if due:
            longest = min(due, key=lambda task: self._flushed[task.id])
            longest.flush()
            self._flushed[longest.id] = now

    def forget(self, task: TaskId) -> None:
        """Forget a task that has left this process."""
        self._flushed.pop(task, None)
