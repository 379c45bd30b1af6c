"""Tests of the ownership rules, one by one. test_assignment.py tests them in histories with the assignor."""

from __future__ import annotations

import pytest

from tidemill.engine.assignment.assignment import MemberAssignment
from tidemill.engine.assignment.ownership import Ownership
from tidemill.engine.ids import TaskId, incarnation, process_of, transactional_id

BASE = "0123456789abcdef" * 2
A, B, C = (TaskId(0, n) for n in range(3))


def plan(*tasks: TaskId, **more: object) -> MemberAssignment:
    return MemberAssignment(active=frozenset(tasks), **more)  # pyright: ignore[reportArgumentType]


def test_a_plan_revokes_no_running_task() -> None:
    own = Ownership(BASE)
    own.assigned(1, plan(A, B))
    own.assigned(2, plan(B, C))
    assert own.owned == {A, B, C}
    assert own.surplus == {A}
    assert own.release([A, TaskId(9, 9)]) == {A}
    assert own.owned == {B, C}
    assert own.generation == 2


def test_former_owners_are_kept_until_a_task_is_opened() -> None:
    own = Ownership(BASE)
    given = own.assigned(1, plan(A, B, fence={A: ("p", "q")}))
    assert given.fence == {A: ("p", "q")}
    assert own.opening == {A: ("p", "q"), B: ()}
    own.opened([A])
    own.assigned(2, plan(A, B, fence={A: ("r",)}))
    assert own.opening == {B: ()}, "an open task has no former owner left to fence"


def test_a_static_member_fences_its_former_process() -> None:
    own = Ownership(BASE)
    given = own.assigned(1, plan(A, owners={A: "former.1", B: "other.1"}, fence={A: ("older.3",)}))
    assert given.fence == {A: ("former.1", "older.3")}
    assert given.owners == {A: incarnation(BASE, 1), B: "other.1"}


def test_a_plan_does_not_return_tasks_that_were_released_while_it_was_computed() -> None:
    own = Ownership(BASE)
    own.assigned(1, plan(A, B))
    own.described()
    own.release([A])
    assert own.assigned(2, plan(A, B)).active == {B}
    assert own.owned == {B}
    own.described()
    assert own.assigned(3, plan(A, B)).active == {A, B}


def test_losing_membership_ends_the_epoch_and_the_incarnation() -> None:
    own = Ownership(BASE)
    own.assigned(4, plan(A))
    before = own.process
    assert own.lose() == 1
    assert (own.epoch, own.generation, own.owned, own.opening, own.plan) == (2, -1, frozenset(), {}, MemberAssignment())
    assert own.process != before


def test_transactional_ids_name_exactly_one_application() -> None:
    process = incarnation(BASE, 3)
    assert process_of("app", transactional_id("app", process)) == process
    assert process_of("app", transactional_id("app-more", process)) is None
    assert process_of("app-more", transactional_id("app", process)) is None
    assert process_of("app", f"app-{BASE}") is None
    assert process_of("app", "app-something-else") is None
    with pytest.raises(ValueError, match="hexadecimal"):
        incarnation("not hexadecimal", 1)


def test_task_ids() -> None:
    assert str(TaskId(0, 12)) == "0_12"
    assert TaskId.parse("0_12") == TaskId(0, 12)
    assert TaskId(0, 9) < TaskId(0, 10) < TaskId(1, 0)
    for text in ("", "1", "_1", "1_", "a_b", "1_-2", "1_2_3"):
        with pytest.raises(ValueError, match="task id"):
            TaskId.parse(text)
