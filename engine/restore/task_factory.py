"""Creation of a running task from the result of recovery."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...operators.policy import ErrorPolicy
from ..calls.async_calls import AsyncCallExecutor
from ..errors import Fatal
from ..plan.plan import SubTopology
from ..targets.target_threads import TargetThreads
from ..tasks.roles import CurrentRole, why_retired
from ..tasks.task import Task
from .global_tables import GlobalTables
from .opening import Ready

__all__ = ["TaskEnvironment", "create_task"]


@dataclass(frozen=True)
class TaskEnvironment:
    """The dependencies shared by all tasks of a process."""

    policy: ErrorPolicy
    calls: AsyncCallExecutor
    """Runs the coroutine functions of steps."""
    tables: GlobalTables
    targets: TargetThreads
    role: CurrentRole = field(default_factory=CurrentRole)
    app_id: str = ""


def create_task(ready: Ready, subtopology: SubTopology, environment: TaskEnvironment) -> Task:
    """Create the task.

    Raises CorruptStore if its stores are damaged; they stay open then. Raises Fatal if the committed offsets are those
    of a shadow, and the process is not one, or if another application has taken its place.
    """
    if ready.role.retired:
        raise Fatal(why_retired(environment.app_id, ready.role))
    if ready.role.promoted:
        environment.role.now = ready.role
    if ready.role.shadow and ready.role != environment.role.now:
        raise Fatal(
            f"the application has been made the shadow of {ready.role.other} since this process was started, and it "
            "would write to the output topics: start it again"
        )
    return Task(
        ready.task,
        subtopology,
        ready.stores,
        ready.offsets,
        environment.policy,
        ready.stream_time,
        fresh=ready.fresh,
        calls=environment.calls,
        targets=environment.targets,
        seen=ready.seen,
        global_tables=environment.tables.rows,
        topic_ids=ready.topic_ids,
        changelog_ownership=ready.changelog_ownership,
        mark=ready.mark,
        role=environment.role.now,
    )
