"""Runs the tasks of a process in turn: wall-clock ticks, results of calls, runs of records.

A turn ends when its time is over, and the next turn continues with the following task. So slow functions delay neither
commits nor each other, and every task gets its turn. A turn has at least one run; `run_limit.py` limits its size. The
output is yielded piece by piece, so that the caller can report in between that the process is alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from ...operators.record import Outgoing
from ..clock import Clock
from ..ids import TaskId
from ..tasks.task import Task
from .bisection import RejectedRecordSearch
from .reports import GroupReporter
from .run_limit import RunLimit
from .scheduler import Scheduler

__all__ = ["TaskExecutor"]

TICK_MS = 100
T = TypeVar("T")


class TaskExecutor:
    """Runs the tasks of one process."""

    def __init__(self, clock: Clock, reports: GroupReporter, idle: int, max_batch: int, *, has_calls: bool) -> None:
        """Create it; tasks wait `idle` ms for an input without records.

        A run has at most `max_batch` records. `has_calls` says whether any step calls coroutine functions.
        """
        self._clock = clock
        self._reports = reports
        self._scheduler = Scheduler(clock, idle)
        self._max_batch = max_batch
        self._has_calls = has_calls
        self._runs: dict[TaskId, RunLimit] = {}
        """Limits of the runs of each task; kept when a task leaves, since it may return."""
        self._answers: dict[TaskId, RunLimit] = {}
        self._last_tick = clock.monotonic()
        self._to_tick: deque[TaskId] = deque()
        """Tasks that have not had their tick yet."""
        self._answered: TaskId | None = None
        self._ran: TaskId | None = None
        """The tasks that last handled results and last had a run."""
        self.more = False
        """Whether the last turn ended before all work was done."""

    def turn(
        self, tasks: Mapping[TaskId, Task], until: int, search: RejectedRecordSearch
    ) -> Iterator[tuple[Task, list[Outgoing]]]:
        """Do the available work; yield the output of each piece.

        After `until`, in ms, nothing is started except the first run of one task. An open `search` shortens the runs.
        """
        self.more = False
        yield from self._tick(tasks, until)
        if self._has_calls:
            yield from self._collect(tasks, until)
        yield from self._run(tasks, until, search)

    def forget(self, task: TaskId) -> None:
        """Forget a task that has left this process."""
        self._scheduler.forget(task)

    def _tick(self, tasks: Mapping[TaskId, Task], until: int) -> Iterator[tuple[Task, list[Outgoing]]]:
        now = self._clock.monotonic()
        if not self._to_tick and now - self._last_tick >= TICK_MS:
            self._last_tick = now
            self._to_tick.extend(tasks)
        while self._to_tick:
            task = tasks.get(self._to_tick.popleft())
            if task is None:
                continue
            began = self._clock.monotonic()
            yield task, task.tick(self._clock.now())
            if self._worked(task, began) >= until:
                self.more |= bool(self._to_tick)
                return

    def _collect(self, tasks: Mapping[TaskId, Task], until: int) -> Iterator[tuple[Task, list[Outgoing]]]:
        calling = [task for task in tasks.values() if task.calling]
        for task in after(calling, [task.id for task in calling], self._answered):
            limit = self._limit(self._answers, task)
            began, waiting = self._clock.monotonic(), task.calling
            yield task, task.collect(self._clock.now(), limit.records)
            self._answered = task.id
            now = self._worked(task, began)
            count = waiting - task.calling
            if count > 0:
                self.more |= count >= limit.records
                limit.ran(count, now - began)
            if now >= until:
                return

    def _run(
        self, tasks: Mapping[TaskId, Task], until: int, search: RejectedRecordSearch
    ) -> Iterator[tuple[Task, list[Outgoing]]]:
        moving = True
        while moving:
            moving = False
            free = self._scheduler.runnable(tasks.values())
            for task, time_limit in after(free, [task.id for task, _ in free], self._ran):
                limit = self._limit(self._runs, task)
                began, count = self._clock.monotonic(), task.records_in
                most, wait = search.limit(limit.records), self._scheduler.waits_for_input(task)
                outgoing = task.advance(self._clock.now(), most, wait, time_limit, search.left_out)
                if outgoing is None:
                    continue
                moving = True
                yield task, outgoing
                self._ran = task.id
                now = self._worked(task, began)
                if task.records_in > count:
                    limit.ran(task.records_in - count, now - began)
                if now >= until:
                    self.more = True
                    return

    def _limit(self, limits: dict[TaskId, RunLimit], task: Task) -> RunLimit:
        limit = limits.get(task.id)
        if limit is None:
            limit = limits[task.id] = RunLimit(self._max_batch)
        return limit

    def _worked(self, task: Task, began: int) -> int:
        """Record the work of a task since `began`; return the current time."""
        now = self._clock.monotonic()
        self._reports.worked(task.id, now - began)
        return now


def after(items: Sequence[T], ids: Sequence[TaskId], last: TaskId | None) -> Sequence[T]:
    """Return the items rotated so that they start after the last one."""
    if last is None or last not in ids:
        return items
    start = ids.index(last) + 1
    return [*items[start:], *items[:start]]
