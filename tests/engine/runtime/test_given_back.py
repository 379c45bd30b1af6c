"""A task that is taken away while it is opened, and given again before it is closed, is not given back."""

from __future__ import annotations

from inspect import signature
from typing import Any
from unittest.mock import MagicMock

import pytest

import tidemill as tm
from tidemill.engine.assignment.assignment import Plan as Part
from tidemill.engine.clock import SystemClock
from tidemill.engine.config.settings import Settings
from tidemill.engine.group.membership import Assigned
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.restore.opening import Closed
from tidemill.engine.runtime.loop import Loop

TASK, OTHER = TaskId(0, 0), TaskId(0, 1)


class Told:
    """A loop among stubs, and what it tells the group."""

    def __init__(self) -> None:
        stubs: dict[str, Any] = {name: MagicMock() for name in signature(Loop).parameters}
        stubs |= {"plan": planned(), "settings": Settings(app_id="app"), "clock": SystemClock(), "watch": None}
        stubs["writer"].pending = False
        stubs["intake"].receive.return_value = {}
        self.membership, self.recovery = stubs["membership"], stubs["recovery"]
        self.loop = Loop(**stubs)

    def turn(self, *events: Assigned, finished: tuple[Closed, ...] = ()) -> list[TaskId]:
        """One turn of the loop; the tasks that it released in it."""
        self.membership.release.reset_mock()
        self.membership.events.return_value = list(events)
        self.recovery.finished.return_value = list(finished)
        self.loop.run_once()
        return [task for call in self.membership.release.call_args_list for task in call.args[0]]


def planned() -> Plan:
    app = tm.App("app")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().count().to("out")
    return plan(partition(app.topology()), "app", {"in": 2, "out": 2}, {})


def assigned(generation: int, *tasks: TaskId) -> Assigned:
    return Assigned(generation, 1, Part(active=frozenset(tasks)), "p.1", "member")


@pytest.fixture
def told() -> Told:
    told = Told()
    told.turn(assigned(1, TASK, OTHER))
    return told


def test_a_task_that_is_not_wanted_any_more_is_given_back_when_it_is_closed(told: Told) -> None:
    assert told.turn(assigned(2, OTHER)) == []
    assert told.turn(finished=(Closed(TASK),)) == [TASK]


def test_a_task_that_is_given_again_before_it_is_closed_is_kept(told: Told) -> None:
    told.turn(assigned(2, OTHER))
    assert told.turn(assigned(3, TASK, OTHER), finished=(Closed(TASK),)) == []
    assert told.turn(finished=()) == []
