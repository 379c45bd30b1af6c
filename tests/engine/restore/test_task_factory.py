"""A process does not run tasks of an application that has become a shadow since it was started."""

from __future__ import annotations

from unittest.mock import MagicMock, patch

import pytest

from tidemill.engine.errors import Fatal
from tidemill.engine.ids import TaskId
from tidemill.engine.restore.opening import Ready
from tidemill.engine.restore.task_factory import TaskEnvironment, create_task
from tidemill.engine.tasks.roles import ACTIVE, CurrentRole, Role
from tidemill.operators.policy import fail


def test_a_process_that_is_no_shadow_runs_no_task_of_one() -> None:
    environment = TaskEnvironment(fail, MagicMock(), MagicMock(), MagicMock())
    ready = Ready(TaskId(0, 0), 1, {}, {}, frozenset(), -1, 0, role=Role("views", "base"))
    with pytest.raises(Fatal, match="has been made the shadow of views"):
        create_task(ready, MagicMock(), environment)


def test_a_task_that_was_opened_after_a_cut_over_sets_the_role_of_its_process() -> None:
    shadow = Role("views", "base")
    environment = TaskEnvironment(fail, MagicMock(), MagicMock(), MagicMock(), CurrentRole(shadow), "views-2")
    promoted = shadow.stands("views", "a1").switched(7)
    with patch("tidemill.engine.restore.task_factory.Task") as made:
        create_task(Ready(TaskId(0, 0), 1, {}, {}, frozenset(), -1, 0, role=promoted), MagicMock(), environment)
    assert environment.role.now == made.call_args.kwargs["role"] == promoted
    retired = ACTIVE.stands("views-3", "a1").switched(7)
    with pytest.raises(Fatal, match="views-3 has taken the place of views-2"):
        create_task(Ready(TaskId(0, 0), 1, {}, {}, frozenset(), -1, 0, role=retired), MagicMock(), environment)
