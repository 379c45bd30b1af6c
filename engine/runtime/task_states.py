"""The states of the tasks of this process, as a value.

The state diagram is in docs/architecture.md. Pure: each event returns `TaskChanges` with the actions to take and the
states afterwards. `task_manager.py` carries them out, in the order of the fields.

Every opening has a unique number. Recovery returns its results later, from another thread: a result is valid only for
the opening, or the cancellation of the opening, that the task is in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from typing import NamedTuple

from ..ids import TaskId

__all__ = ["Phase", "State", "TaskChanges", "TaskStates"]


class Phase(Enum):
    """The phase of a task. A task without a phase is not in this process."""

    OPENING = "opening"
    """Recovery is opening it."""
    RUNNING = "running"
    CLOSING = "closing"
    """Its opening was cancelled; it is released when recovery has closed it."""


class State(NamedTuple):
    """The phase of a task, and the number of the opening that led to it."""

    phase: Phase
    opening: int


@dataclass(frozen=True)
class TaskChanges:
    """The actions after an event. To keep the work of tasks to close, commit it first."""

    after: TaskStates
    close: tuple[TaskId, ...] = ()
    """Running tasks to close."""
    release: tuple[TaskId, ...] = ()
    """Tasks to release to other members after closing: nothing of them is open then."""
    cancel: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])
    """Openings to cancel."""
    open: Mapping[TaskId, int] = field(default_factory=dict[TaskId, int])


@dataclass(frozen=True)
class TaskStates:
    """The states of all tasks of a process."""

    states: Mapping[TaskId, State] = field(default_factory=dict[TaskId, State])
    openings: int = 0
    """Number of openings so far."""

    @cached_property
    def opening(self) -> Mapping[TaskId, int]:
        """Tasks that are being opened, with the numbers of their openings."""
        return {task: state.opening for task, state in self.states.items() if state.phase is Phase.OPENING}

    @cached_property
    def running(self) -> frozenset[TaskId]:
        return frozenset(task for task, state in self.states.items() if state.phase is Phase.RUNNING)

    def assigned(self, active: frozenset[TaskId], surplus: frozenset[TaskId]) -> TaskChanges:
        """Return the changes for an assignment of `active`.

        `surplus` is revoked even if it is unknown here. Running tasks that are no longer assigned are released at once,
        those being opened when recovery has closed them. A task that is assigned again before that is reopened and not
        released.
        """
        close = tuple(task for task in self.states if task in self.running - active)
        cancel = {task: number for task, number in self.opening.items() if task not in active}
        unknown = sorted(surplus - self.states.keys())
        states = {task: state for task, state in self.states.items() if task in active or task not in self.running}
        states.update({task: State(Phase.CLOSING, number) for task, number in cancel.items()})
        opened = replace(self, states=states)._opened(active - self.running - self.opening.keys())
        return replace(opened, close=close, release=(*close, *unknown), cancel=cancel)

    def ready(self, task: TaskId, opening: int) -> TaskChanges:
        """Return the changes after recovery opened a task. Raises RuntimeError if not requested."""
        if self.states.get(task) != State(Phase.OPENING, opening):
            raise RuntimeError(f"task {task} is ready by opening {opening}, and is {self.states.get(task)}")
        return TaskChanges(replace(self, states={**self.states, task: State(Phase.RUNNING, opening)}))

    def closed(self, task: TaskId, opening: int) -> TaskChanges:
        """Return the changes after recovery has closed a cancelled opening."""
        if self.states.get(task) != State(Phase.CLOSING, opening):
            return TaskChanges(self)  # it was assigned again, or the membership was lost
        return TaskChanges(
            replace(self, states={other: state for other, state in self.states.items() if other != task}),
            release=(task,),
        )

    def reopen(self, tasks: Iterable[TaskId]) -> TaskChanges:
        """Return the changes to reopen tasks from the last commit, whatever their state."""
        tasks = frozenset(tasks)
        return replace(
            self._opened(tasks),
            close=tuple(task for task in self.states if task in self.running and task in tasks),
            cancel={task: number for task, number in self.opening.items() if task in tasks},
        )

    def lost(self) -> TaskChanges:
        """Return the changes after a lost membership; others may own the tasks: none is released."""
        return TaskChanges(
            TaskStates(openings=self.openings),
            close=tuple(task for task in self.states if task in self.running),
            cancel=self.opening,
        )

    def _opened(self, tasks: Iterable[TaskId]) -> TaskChanges:
        numbers = {task: number for number, task in enumerate(sorted(tasks), self.openings + 1)}
        states = {**self.states, **{task: State(Phase.OPENING, number) for task, number in numbers.items()}}
        return TaskChanges(TaskStates(states, self.openings + len(numbers)), open=numbers)
