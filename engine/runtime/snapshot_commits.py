"""The part of a commit in which state becomes durable in snapshots, without changelogs.

Between `begin` and Kafka's commit the stores are ahead of what is committed, so no record is processed meanwhile: its
output would be part of this transaction. If the commit does not succeed, the tasks are dropped and opened again: that
brings their stores to the snapshot that the committed offsets name.

    prepared commits ─▶ written to the stores, under a new name ─▶ linked ─▶ uploaded ─▶ manifests ─▶ Kafka's commit
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..clock import Clock
from ..errors import SnapshotsLate
from ..failpoints import hit
from ..ids import TaskId
from ..serve.stats import Stats
from ..snapshots.commit_snapshots import CommitSnapshots, TaskState
from ..tasks.prepared_commit import PreparedCommit
from ..tasks.task import Task

__all__ = ["SnapshotCommits"]

LOG = logging.getLogger("tidemill.loop")
REMIND_MS = 10_000
LEAST_LEFT = 0.1
"""The share of a transaction's timeout that is left for the commit itself."""
MOST_LEFT_SECONDS = 10.0


class SnapshotCommits:
    """Stores the snapshots of one commit after the other."""

    def __init__(self, snapshots: CommitSnapshots, stats: Stats, clock: Clock) -> None:
        self._snapshots = snapshots
        self._stats = stats
        self._clock = clock
        self._count = 0
        self._prepared: Sequence[PreparedCommit] = ()
        self._commit = ""
        self._began = self._reminded = 0

    def begin(self, prepared: Sequence[PreparedCommit], tasks: Mapping[TaskId, Task], process: str) -> None:
        """Write the changes to the stores, and begin to store snapshots of them.

        `process` is the id of this process in its epoch. A task that has changed no state keeps its snapshot. Raises
        StateError.
        """
        self._count += 1
        self._prepared, self._commit = prepared, f"{process}-{self._count}"
        self._began = self._reminded = self._clock.monotonic()
        changed = [tasks[work.task] for work in prepared if work.changes]
        for task in changed:
            task.write_ahead(self._commit)
        hit("after-local-write")
        self._snapshots.begin(map(_state_of, changed))

    def secured(self, left: float | None, limit: float) -> list[PreparedCommit] | None:
        """Return the prepared commits, with their snapshots, when all are stored; None before.

        `left` is for how many seconds more the broker keeps the transaction open, of `limit`; None if there is none.
        Raises SnapshotsLate when the rest is needed for the commit, and StateError.
        """
        taken = self._snapshots.taken()
        now = self._clock.monotonic()
        waited = (now - self._began) / 1000
        self._stats.snapshots, self._stats.commit_waits = self._snapshots.figures, waited
        if taken is not None:
            self._stats.commit_waits = 0.0
            numbers = {task: one.number for task, one in taken.items()}
            return [self._marked(work, numbers.get(str(work.task), 0)) for work in self._prepared]
        trouble = self._snapshots.trouble
        if left is not None and left < min(limit * LEAST_LEFT, MOST_LEFT_SECONDS):
            raise SnapshotsLate(
                f"the snapshots of this commit are not stored after {waited:.0f} s, and the broker ends the "
                f"transaction after {limit:g} s: {trouble or 'their upload is too slow: see snapshot_bandwidth'}"
            )
        if now - self._reminded >= REMIND_MS:
            self._reminded = now
            LOG.warning("the commit waits for its snapshots for %.0f s, and nothing is processed: %s", waited, trouble)
        return None

    def _marked(self, work: PreparedCommit, number: int) -> PreparedCommit:
        assert work.mark is not None
        return replace(work, mark=work.mark._replace(number=number, commit=self._commit)) if number else work

    def committed(self) -> None:
        """Note that the commit has succeeded."""
        self._snapshots.committed()
        self._stats.snapshots = self._snapshots.figures

    def abandon(self) -> None:
        """Give up the snapshots of a commit that has failed, or may have."""
        self._stats.commit_waits = 0.0
        self._snapshots.abandon()


def _state_of(task: Task) -> TaskState:
    store: Any = task.stores["rocksdb"]  # stores in memory are refused at the start
    shapes = {state.spec.name: state.shape for state in task.subtopology.stores}
    committed = 0 if task.mark is None else task.mark.number
    return TaskState(str(task.id), store, shapes, task.subtopology.fingerprint, committed)
