"""Property test of task states: no history releases an open task, loses a task, or opens one twice.

A history has assignments, responses of recovery, and lost memberships. Recovery is modelled as a separate thread that
takes commands in order and responds later through the real `Requests`. The rest of the group is modelled as the set of
tasks that it believes this process to own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.examples import examples
from tidemill.engine.ids import TaskId
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.restore.requests import Requests
from tidemill.engine.runtime.task_states import Phase, State, TaskChanges, TaskStates
from tidemill.state.memory import MemoryStore

TASKS = A, B, C, D = [TaskId(0, number) for number in range(4)]
SETS = st.frozensets(st.sampled_from((A, B)))


class OpenStore(MemoryStore):
    """The store of a task, which can be open once at a time."""

    def __init__(self, opened: dict[TaskId, int], task: TaskId, number: int) -> None:
        super().__init__()
        assert task not in opened, f"task {task} is opened while it is open"
        self._opened, self._task = opened, task
        opened[task] = number

    def close(self) -> None:
        del self._opened[self._task]


class Process(RuleBasedStateMachine):
    """A process as seen by the group, and its open tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.states = TaskStates()
        self.owned: set[TaskId] = set()
        """What the group believes this process to own."""
        self.active: frozenset[TaskId] = frozenset()
        self.open: dict[TaskId, int] = {}
        """Tasks with open stores, in whichever thread, and the openings that opened them."""
        self.lost = 0
        """Openings up to this number are of a lost membership: others may have these tasks whatever is open here."""
        self.running: dict[TaskId, OpenStore] = {}
        self.requests = Requests()
        self.commands: deque[tuple[str, Mapping[TaskId, int]]] = deque()
        self.asked: dict[TaskId, int] = {}
        self.openings: dict[TaskId, tuple[int, OpenStore]] = {}
        """Of recovery."""

    # The group

    @rule(active=SETS, unheard=SETS)
    def assign(self, active: frozenset[TaskId], unheard: frozenset[TaskId]) -> None:
        """Handle a plan; the tasks in `unheard` are from a plan that was superseded before the task executor saw it."""
        self.owned |= active | unheard
        self.active = active
        self._do(self.states.assigned(active, frozenset(self.owned - active)))
        assert set(self.states.running) | set(self.states.opening) == active

    @rule()
    def lose(self) -> None:
        self.owned.clear()
        self.active = frozenset()
        changes = self.states.lost()
        assert not changes.release
        self.lost = self.states.openings
        self._do(changes)

    # Reopening

    @rule(tasks=SETS)
    def reopen_running(self, tasks: frozenset[TaskId]) -> None:
        """Some get new inputs."""
        self._do(self.states.reopen(tasks & self.states.running))

    @rule()
    def reopen_opening(self) -> None:
        """The plan has changed."""
        self._do(self.states.reopen(self.states.opening))

    # Recovery, in its thread

    @precondition(lambda self: self.commands)
    @rule()
    def take_command(self) -> None:
        what, openings = self.commands.popleft()
        if what == "open":
            self.asked.update(openings)
            return
        for task, number in openings.items():
            self.asked.pop(task, None)
            if task in self.openings:
                self.openings.pop(task)[1].close()
            self.requests.closed(task, number)

    @precondition(lambda self: self.asked)
    @rule()
    def begin(self) -> None:
        asked, self.asked = self.asked, {}
        for task, number in asked.items():
            if self.requests.wanted(number):
                self.openings[task] = number, OpenStore(self.open, task, number)

    @precondition(lambda self: self.openings)
    @rule(index=st.integers(0, 9))
    def finish(self, index: int) -> None:
        task = sorted(self.openings)[index % len(self.openings)]
        number, store = self.openings.pop(task)
        self.requests.ready(Ready(task, number, {"memory": store}, {}, frozenset(), -1, 0))

    @rule()
    def work_off(self) -> None:
        """Let recovery take the pending commands, and open what it can."""
        while self.commands:
            self.take_command()
        if self.asked:
            self.begin()
        while self.openings:
            self.finish(0)

    # The task executor

    @rule()
    def hear_answers(self) -> None:
        for answer in self.requests.answers():
            if isinstance(answer, Closed):
                self._do(self.states.closed(answer.task, answer.opening))
            else:
                self._do(self.states.ready(answer.task, answer.opening))
                store = answer.stores["memory"]
                assert isinstance(store, OpenStore)
                self.running[answer.task] = store

    def _do(self, changes: TaskChanges) -> None:
        """As TaskManager does."""
        for task in changes.close:
            self.running.pop(task).close()
        self.states = changes.after
        for task in changes.release:
            assert task in self.owned, f"task {task} is released twice, or was never given"
            assert task not in self.active, f"task {task} is released and was assigned"
            assert self.open.get(task, 0) <= self.lost, f"task {task} is released while it is open"
            asked = [self.asked.get(task, 0), *(openings.get(task, 0) for _, openings in self.commands)]
            assert max(asked) <= self.lost, f"task {task} is released and may be opened yet"
            self.owned.discard(task)
        if changes.cancel:
            self.requests.cancel(changes.cancel.values())
            self.commands.append(("cancel", changes.cancel))
        if changes.open:
            self.commands.append(("open", changes.open))

    @invariant()
    def what_runs_is_open(self) -> None:
        assert self.running.keys() == self.states.running
        assert self.open.keys() >= self.running.keys()

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.owned == self.states.states.keys()
        assert self.active == self.states.running | self.states.opening.keys()

    def teardown(self) -> None:
        """Check that, once recovery has finished, all assigned tasks run and all others are released."""
        self.work_off()
        self.hear_answers()
        assert self.states.running == self.active == self.owned == self.open.keys()


TestProcess = Process.TestCase
TestProcess.settings = examples(400, stateful_step_count=40)


OPENING, RUNNING, CLOSING = Phase
EACH = TaskStates({A: State(OPENING, 1), B: State(RUNNING, 2), C: State(CLOSING, 3)}, openings=3)
"""A task in each phase; D is not here."""


def test_each_phase_when_the_task_is_assigned() -> None:
    changes = EACH.assigned(frozenset(TASKS), frozenset())
    after = {**EACH.states, C: State(OPENING, 4), D: State(OPENING, 5)}
    assert changes == TaskChanges(TaskStates(after, 5), open={C: 4, D: 5})


def test_each_phase_when_the_task_is_not_assigned() -> None:
    changes = EACH.assigned(frozenset(), frozenset(TASKS))
    after = {A: State(CLOSING, 1), C: State(CLOSING, 3)}
    assert changes == TaskChanges(TaskStates(after, 3), close=(B,), release=(B, D), cancel={A: 1})


def test_each_phase_when_the_task_is_opened_again() -> None:
    changes = EACH.reopen(TASKS)
    after = {task: State(OPENING, number) for number, task in enumerate(TASKS, 4)}
    assert changes == TaskChanges(TaskStates(after, 7), close=(B,), cancel={A: 1}, open={A: 4, B: 5, C: 6, D: 7})


def test_each_phase_when_the_membership_is_lost() -> None:
    assert EACH.lost() == TaskChanges(TaskStates(openings=3), close=(B,), cancel={A: 1})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("number", range(1, 5))
def test_a_response_only_counts_for_the_current_opening_of_the_task(task: TaskId, number: int) -> None:
    if (task, number) == (A, 1):
        assert EACH.ready(task, number) == TaskChanges(TaskStates({**EACH.states, A: State(RUNNING, 1)}, 3))
    else:
        with pytest.raises(RuntimeError, match=f"task {task} is ready by opening {number}"):
            EACH.ready(task, number)
    if (task, number) == (C, 3):
        left = {A: State(OPENING, 1), B: State(RUNNING, 2)}
        assert EACH.closed(task, number) == TaskChanges(TaskStates(left, 3), release=(C,))
    else:
        assert EACH.closed(task, number) == TaskChanges(EACH)
