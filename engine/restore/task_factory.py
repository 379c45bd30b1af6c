"""From a task that may run, as the recovery hands it out, to one that runs."""

from __future__ import annotations

from collections.abc import Mapping

from ...operators.graph.calls import Calls
from ...operators.policy import ErrorPolicy
from ..plan.plan import SubTopology
from ..tasks.task import Task
from .global_rows import GlobalRows
from .opening import Ready

__all__ = ["started"]


def started(
    ready: Ready, part: SubTopology, policy: ErrorPolicy, calls: Calls, tables: Mapping[str, GlobalRows]
) -> Task:
    """The running task. Raises Corrupt when its stores turn out to be damaged; they are still open then."""
    return Task(
        ready.task,
        part,
        ready.stores,
        ready.offsets,
        policy,
        ready.stream_time,
        fresh=ready.fresh,
        calls=calls,
        seen=ready.seen,
        global_tables=tables,
        topic_ids=ready.topic_ids,
        authorship=ready.authorship,
    )
