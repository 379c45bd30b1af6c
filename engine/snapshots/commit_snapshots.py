"""The snapshots of all tasks of a commit at once, for stores without changelogs.

The loop begins them, waits until all manifests are written, and commits then. A snapshot that fails is tried again
until the loop gives it up; the files that have arrived are not uploaded again. Old snapshots are deleted after the
commit, also in the threads here.

    begin ──▶ in each thread: link the files of a task, upload the new ones, write the manifest ──▶ all are stored
                      ▲── the snapshot store fails: a pause ──┘
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..clock import Clock
from ..threads import Thread
from .bandwidth import Bandwidth
from .figures import SnapshotFigures
from .schedule import next_due
from .snapshotter import Running
from .storage import Stopped, Storage, StorageError
from .taking import Copied, Overtaken, Subject, Taken, TaskSnapshots

__all__ = ["CommitSnapshots", "TaskState"]

LOG = logging.getLogger("tidemill.snapshots")
THREADS = 4
"""Tasks whose snapshots are taken at the same time."""
LONGEST_PAUSE_MS = 20_000
PAUSE_STEP_MS = 200


@dataclass(frozen=True)
class TaskState:
    """The stores of a task, with the content of a commit that is to be made."""

    task: str
    store: Copied
    shapes: Mapping[str, str]
    """What each store holds, in words."""
    topology: str
    committed: int
    """The number of the task's committed snapshot; 0 if there is none."""


@dataclass
class Attempt:
    """The snapshots of one commit."""

    tasks: Mapping[str, TaskState]
    wanted: bool = True
    taken: dict[str, Taken] = field(default_factory=dict[str, Taken])
    failures: list[str] = field(default_factory=list[str])
    fatal: BaseException | None = None
    """What failed here, and not in the snapshot store."""


@dataclass(frozen=True)
class Owned:
    """The snapshots of a task, for one thread at a time."""

    snapshots: TaskSnapshots
    lock: threading.Lock = field(default_factory=threading.Lock)


class CommitSnapshots:
    """Takes the snapshots of the commits of one process."""

    def __init__(
        self,
        storage: Storage,
        app_id: str,
        keep: int,
        bandwidth: int | None,
        generation: Callable[[], int],
        scratch: Callable[[str], Path],
        clock: Clock,
    ) -> None:
        """Set them up; `start` starts the threads.

        `bandwidth` is in bytes per second. `generation` is the group's; `scratch` returns a directory of a name, on the
        file system of the stores.
        """
        self._storage = storage
        self._app_id = app_id
        self._keep = keep
        self._bandwidth = Bandwidth(bandwidth, lambda: clock.monotonic() / 1000)
        self._generation = generation
        self._scratch = scratch
        self._clock = clock
        self._tasks: dict[str, Owned] = {}
        self._made = 0
        self._attempt: Attempt | None = None
        self._seen = 0
        self.figures = SnapshotFigures()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = [Thread(f"tidemill-snapshots-{number}", self.run) for number in range(THREADS)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads; it does not wait for a call of the snapshot store."""
        self.abandon()
        self._bandwidth.stop()
        for _ in self._threads:
            self._work.put(None)

    # In the loop's thread

    def begin(self, tasks: Iterable[TaskState]) -> None:
        """Begin to take the snapshots of a commit. The stores must not change until it is made."""
        self.abandon()
        attempt = self._attempt = Attempt({one.task: one for one in tasks})
        self._seen = 0
        for one in attempt.tasks.values():
            self._work.put(partial(self._take, attempt, one, self._owned(one.task)))

    def taken(self) -> Mapping[str, Taken] | None:
        """Return the snapshots when all are stored, None before. Raises StateError."""
        attempt = self._attempt
        assert attempt is not None
        for thread in self._threads:
            thread.check()
        if attempt.fatal is not None:
            self.abandon()
            raise attempt.fatal
        failures = len(attempt.failures)
        if failures > self._seen:
            self.figures = replace(self.figures, failures=self.figures.failures + failures - self._seen)
            self._seen = failures
        return attempt.taken if len(attempt.taken) == len(attempt.tasks) else None

    def turn(self, tasks: Iterable[Running]) -> SnapshotFigures:
        """Set the tasks that run now, and return the figures of their snapshots."""
        for gone in self._tasks.keys() - {str(task.id) for task in tasks}:
            self.forget(gone)
        return self.figures

    @property
    def trouble(self) -> str:
        """Why snapshots of the present commit are not stored yet; "" if nothing has failed."""
        attempt = self._attempt
        return attempt.failures[-1] if attempt is not None and attempt.failures else ""

    def committed(self) -> None:
        """Note that the commit has succeeded; its snapshots are kept, and old ones deleted."""
        attempt, self._attempt = self._attempt, None
        if attempt is None or not attempt.taken:
            return
        figures, taken = self.figures, attempt.taken
        self.figures = SnapshotFigures(
            {**figures.created, **{task: one.created for task, one in taken.items()}},
            {**figures.sizes, **{task: one.size for task, one in taken.items()}},
            {**figures.seconds, **{task: one.seconds for task, one in taken.items()}},
            figures.taken + len(taken),
            figures.failures,
            figures.uploaded + sum(one.uploaded for one in taken.values()),
        )
        for task, one in taken.items():
            self._work.put(partial(self._collect, self._tasks[task], one.number))

    def abandon(self) -> None:
        """Give up the snapshots of a commit that is not made. Those that are stored are never used."""
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.wanted = False
            for task in attempt.tasks:  # a call of the snapshot store may still be under way
                self.forget(task)

    def forget(self, task: str) -> None:
        """Forget a task that does not run here any more."""
        self._tasks.pop(task, None)
        self.figures = self.figures.without(task)

    def _owned(self, task: str) -> Owned:
        found = self._tasks.get(task)
        if found is None:
            self._made += 1
            scratch = self._scratch(f"snapshot-{task}-{self._made}")
            made = TaskSnapshots(self._storage, self._app_id, task, self._keep, self._clock, self._bandwidth, scratch)
            found = self._tasks[task] = Owned(made)
        return found

    # In the other threads

    @property
    def idle(self) -> bool:
        """True while there is nothing to do."""
        return self._work.empty()

    def run(self) -> None:
        """Work until it is closed."""
        while self.step():
            pass

    def step(self) -> bool:
        """Wait for one piece of work and do it; return False when closed."""
        action = self._work.get()
        if action is None:
            return False
        action()
        return True

    def _take(self, attempt: Attempt, one: TaskState, owned: Owned) -> None:
        """Take the snapshot of a task, and again if that fails."""

        def wanted() -> bool:
            return attempt.wanted

        subject = Subject(one.task, one.store, one.shapes, one.topology, self._generation(), wanted, one.committed)
        failures = 0
        with owned.lock:  # until what is not needed has been deleted
            while attempt.wanted:
                try:
                    taken = owned.snapshots.take(subject)
                    assert taken is not None, "each commit has its own name"
                    attempt.taken[one.task] = taken
                    return
                except Stopped:
                    return
                except (StorageError, Overtaken) as failure:
                    failures += 1
                    attempt.failures.append(f"task {one.task}: {failure}")
                    level = logging.WARNING if len(attempt.failures) == 1 else logging.DEBUG  # the loop goes on to tell
                    LOG.log(level, "task %s: its snapshot failed, and the commit waits for it: %s", one.task, failure)
                except BaseException as failure:  # the loop raises it
                    attempt.fatal = failure
                    return
                self._pause(attempt, next_due(0, LONGEST_PAUSE_MS, failures))

    def _pause(self, attempt: Attempt, ms: int) -> None:
        end = self._clock.monotonic() + ms
        while attempt.wanted and self._clock.monotonic() < end:
            self._clock.sleep(PAUSE_STEP_MS)

    def _collect(self, owned: Owned, committed: int) -> None:
        with owned.lock:
            owned.snapshots.collect(committed)
