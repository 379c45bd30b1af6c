"""Tests of the task manager: the order of commit, close, release and open, and failures of these steps."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest

import tidemill as tm
from tidemill.engine.assignment.assignment import MemberAssignment as Part
from tidemill.engine.group.membership import Assigned, Lost
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.runtime import task_manager
from tidemill.engine.runtime.kafka_io import KafkaIO
from tidemill.engine.runtime.running_tasks import RunningTasks
from tidemill.engine.runtime.task_manager import TaskManager
from tidemill.engine.topics.topic_watcher import TopicsSnapshot
from tidemill.state.store import CorruptStore

A, B = TaskId(0, 0), TaskId(0, 1)
DONE = {
    *("commit", "identity.wipe", "writer.discard"),
    *(f"recovery.{name}" for name in ("cancel", "open", "replan", "standby")),
    *(f"membership.{name}" for name in ("describe", "give_up", "release")),
}


class Stand:
    """A task manager with stubs, and the journal of their calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parts = MagicMock()
        self.plan = planned(2)
        parts = self.parts
        parts.watch.take_change.return_value = None
        parts.membership.events.return_value = parts.recovery.finished.return_value = []
        running = RunningTasks(parts.intake, MagicMock(), MagicMock(), MagicMock())
        kafka = KafkaIO(parts.intake, parts.writer, parts.membership, parts.watch)
        self.manager = TaskManager(self.plan, kafka, parts.recovery, running, parts.identity, MagicMock(), MagicMock())
        self.running = running
        self.tasks: dict[TaskId, MagicMock] = {}
        self.corrupt: set[TaskId] = set()
        self.opening = 0
        monkeypatch.setattr(task_manager, "create_task", self._started)

    def _started(self, ready: Ready, subtopology: Any, _environment: object) -> MagicMock:
        if ready.task in self.corrupt:
            raise CorruptStore("damaged", str(ready.task))
        task = self.tasks[ready.task] = MagicMock(id=ready.task, inputs=subtopology.task_inputs(ready.task.partition))
        task.topics.differ.return_value = False
        task.release_stores.return_value = {"rocksdb": ready.task}
        self.parts.attach_mock(task, f"task_{ready.task}")
        return task

    def turn(
        self, *events: Assigned | Lost, news: TopicsSnapshot | None = None, answers: tuple[Ready | Closed, ...] = ()
    ) -> list[str]:
        """Run the calls of the task executor in a turn, and return the journal as lines."""
        parts = self.parts
        parts.reset_mock()
        parts.membership.events.return_value = list(events)
        parts.watch.take_change.return_value = news
        parts.recovery.finished.return_value = list(answers)
        manager = self.manager
        manager.take_events()
        for prepare, carry_out in (
            (manager.assignment, manager.assign),
            (manager.topic_changes, manager.follow_topics),
        ):
            if (changes := prepare()) is not None:
                if changes.close:
                    parts.commit()
                carry_out(changes)
        manager.start_opened()
        return self.done()

    def done(self) -> list[str]:
        """Return the commands that the stubs received, in order, without queries."""
        found: list[str] = []
        for name, args, _ in self.parts.mock_calls:
            if name in DONE or (name.startswith("task_") and name.endswith("close")):
                found.append(" ".join([name, *filter(None, map(shown, args))]))
        return found

    def run(self, *tasks: TaskId) -> None:
        """Bring these tasks into the running state."""
        self.turn(assigned(1, *tasks))
        opened: dict[TaskId, int] = self.parts.recovery.open.call_args.args[0]
        self.turn(answers=tuple(ready(task, number) for task, number in opened.items()))
        assert set(self.running.by_id) == set(tasks)


def shown(arg: object) -> str:
    match arg:
        case dict():
            return " ".join(f"{key}:{value}" if isinstance(value, int) else str(key) for key, value in arg.items())
        case set() | frozenset() | tuple() if not isinstance(arg, TaskId):
            return " ".join(map(str, sorted(arg)))
        case _:
            return str(arg)


def planned(partitions: int) -> Plan:
    app = tm.App("app")
    app.stream("in", key=tm.utf8, value=tm.int64).group_by_key().count().to("out")
    return plan(partition(app.topology()), "app", {"in": partitions, "out": 2}, {})


def assigned(
    generation: int, *tasks: TaskId, standby: tuple[TaskId, ...] = (), surplus: tuple[TaskId, ...] = ()
) -> Assigned:
    subtopology = Part(active=frozenset(tasks), standby=frozenset(standby))
    return Assigned(generation, 1, subtopology, "p.1", "member", frozenset(surplus))


def ready(task: TaskId, number: int) -> Ready:
    return Ready(task, number, {}, {}, frozenset(), -1, 0)


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    return Stand(monkeypatch)


def test_a_revoked_task_is_committed_and_closed_before_it_is_released(stand: Stand) -> None:
    stand.run(A)
    assert stand.turn(assigned(2, B, standby=(A,), surplus=(A,))) == [
        "commit",
        "task_0_0.close",
        "membership.release 0_0",
        "recovery.open 0_1:2",
        "recovery.standby 0_0 0_0",  # after those to open, with the stores of the task
    ]


def test_if_the_commit_fails_nothing_is_released_and_the_assignment_is_handled_later(stand: Stand) -> None:
    stand.run(A)
    stand.parts.commit.side_effect = ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        stand.turn(assigned(2, B))
    assert stand.done() == ["commit"]
    stand.parts.commit.side_effect = None
    assert "membership.release 0_0" in stand.turn()


def test_a_task_that_was_assigned_and_revoked_between_two_turns_is_released(stand: Stand) -> None:
    assert "membership.release 0_1" in stand.turn(assigned(1, A, surplus=(B,)))


def test_a_task_that_is_revoked_while_it_is_opened_is_released_when_it_is_closed(stand: Stand) -> None:
    stand.turn(assigned(1, A, B))
    assert stand.turn(assigned(2, B)) == ["recovery.cancel 0_0:1", "recovery.standby"]
    assert stand.turn(answers=(Closed(A, 1),)) == ["membership.release 0_0"]


def test_a_task_that_is_assigned_again_before_it_is_closed_is_not_released(stand: Stand) -> None:
    stand.turn(assigned(1, A, B))
    stand.turn(assigned(2, B))
    assert stand.turn(assigned(3, A, B), answers=(Closed(A, 1),)) == ["recovery.open 0_0:3", "recovery.standby"]
    assert stand.turn() == []


def test_the_response_to_an_earlier_cancellation_releases_nothing(stand: Stand) -> None:
    """By then recovery may have begun to open the task again."""
    stand.turn(assigned(1, A, B))
    stand.turn(assigned(2, B))
    stand.turn(assigned(3, A, B))
    assert "membership.release 0_0" not in stand.turn(assigned(4, B), answers=(Closed(A, 1),))
    assert stand.turn(answers=(Closed(A, 3),)) == ["membership.release 0_0"]


def test_a_lost_membership_drops_all_tasks_and_releases_nothing(stand: Stand) -> None:
    stand.run(A)
    stand.turn(assigned(2, A, B))
    assert stand.turn(Lost(1, "gone")) == [
        "recovery.cancel 0_1:2",
        "recovery.standby",
        "task_0_0.close",
        "writer.discard",
    ]
    assert stand.parts.writer.discard.call_args.kwargs == {"abort": True}
    assert stand.turn(answers=(Closed(B, 2),)) == []


def test_tasks_with_new_inputs_are_committed_and_opened_again(stand: Stand) -> None:
    stand.run(A)
    stand.turn(assigned(2, A, B))
    stand.tasks[A].inputs = ()
    found = stand.turn(news=TopicsSnapshot(planned(3)))
    assert [line.split(" ")[0] for line in found] == [
        "recovery.replan",
        "recovery.cancel",
        "recovery.open",
        "commit",
        "task_0_0.close",
        "recovery.open",
        "membership.describe",
    ]
    assert found[1:3] == ["recovery.cancel 0_1:2", "recovery.open 0_1:3"]
    assert found[5] == "recovery.open 0_0:4"


def test_what_was_read_of_another_topic_is_not_committed(stand: Stand) -> None:
    stand.run(A)
    stand.tasks[A].topics.differ.return_value = True
    stand.tasks[A].inputs = ()
    found = stand.turn(news=TopicsSnapshot(stand.plan, ids={"in": "another"}))
    assert "commit" not in found
    assert [line.split(" ")[0] for line in found] == [
        "recovery.replan",
        "task_0_0.close",
        "identity.wipe",
        "writer.discard",
        "recovery.open",
        "membership.describe",
    ]
    assert stand.parts.writer.discard.call_args.kwargs == {"abort": False}


def test_a_store_that_turns_out_to_be_damaged_is_wiped_and_all_tasks_are_opened_again(stand: Stand) -> None:
    stand.run(A)
    stand.turn(assigned(2, A, B))
    stand.corrupt.add(B)
    assert stand.turn(answers=(ready(B, 2),)) == [
        "task_0_0.close",
        "identity.wipe 0_1",
        "writer.discard",
        "recovery.open 0_0:3 0_1:4",
    ]
    assert not stand.running.by_id
