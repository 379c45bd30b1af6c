"""What the tasks of a process do in a turn, and in which order: wall-clock time, answers to calls, runs of records.

A turn ends when its time is over, wherever it is, and the next goes on with the task after: so slow functions hold up
neither commits nor each other, and each task has its turn. At least one run is made, and how long a run may be is for
`run_size.py` to say. What comes out is handed on piece by piece, so that whoever writes it can say in between that the
process is alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

from ...operators.record import Outgoing
from ..clock import Clock
from ..ids import TaskId
from ..tasks.task import Task
from .bisection import Inquiry
from .reports import Reports
from .run_size import Limit
from .scheduler import Pace

__all__ = ["Work"]

TICK_MS = 100
T = TypeVar("T")


class Work:
    """The work of the tasks of one process."""

    def __init__(self, clock: Clock, reports: Reports, idle: int, max_batch: int) -> None:
        """`idle` ms is how long a silent input is waited for; `max_batch` the most records of a run."""
        self._clock = clock
        self._reports = reports
        self._pace = Pace(clock, idle)
        self._max_batch = max_batch
        self._runs: dict[TaskId, Limit] = {}
        """Of each task's runs, and of its answers; kept when a task goes: it may come back, and is as slow then."""
        self._answers: dict[TaskId, Limit] = {}
        self._last_tick = clock.monotonic()
        self._to_tick: deque[TaskId] = deque()
        """Tasks that have yet to hear what time it is."""
        self._answered: TaskId | None = None
        self._ran: TaskId | None = None
        """The tasks that were last to have their answers and a run."""
        self.more = False
        """Whether the last turn ended before all was done."""

    def turn(self, tasks: Mapping[TaskId, Task], until: int, inquiry: Inquiry) -> Iterator[tuple[Task, list[Outgoing]]]:
        """Does what there is to do; begins nothing more after `until`, in ms, but a run of one task. Gives what each
        piece of work wrote; an open `inquiry` has the runs shorter."""
        self.more = False
        yield from self._tick(tasks, until)
        yield from self._collect(tasks, until)
        yield from self._run(tasks, until, inquiry)

    def forget(self, task: TaskId) -> None:
        """The task is not here any more."""
        self._pace.forget(task)

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

    def _run(self, tasks: Mapping[TaskId, Task], until: int, inquiry: Inquiry) -> Iterator[tuple[Task, list[Outgoing]]]:
        moving = True
        while moving:
            moving = False
            free = self._pace.next_up(tasks.values())
            for task, horizon in after(free, [task.id for task, _ in free], self._ran):
                limit = self._limit(self._runs, task)
                began, count = self._clock.monotonic(), task.records_in
                most, wait = inquiry.limit(limit.records), self._pace.must_wait(task)
                outgoing = task.advance(self._clock.now(), most, wait, horizon, inquiry.left_out)
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

    def _limit(self, limits: dict[TaskId, Limit], task: Task) -> Limit:
        limit = limits.get(task.id)
        if limit is None:
            limit = limits[task.id] = Limit(self._max_batch)
        return limit

    def _worked(self, task: Task, began: int) -> int:
        """A task has worked since then; gives the time."""
        now = self._clock.monotonic()
        self._reports.worked(task.id, now - began)
        return now


def after(items: Sequence[T], ids: Sequence[TaskId], last: TaskId | None) -> Sequence[T]:
    """The items in their order, but beginning after the one that was last."""
    if last is None or last not in ids:
        return items
    start = ids.index(last) + 1
    return [*items[start:], *items[:start]]
