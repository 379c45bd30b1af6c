"""The thread that takes snapshots of the tasks of this process, one after the other.

The loop says which tasks there are; what it hears back are figures. The thread uses a task's store for nothing but
`checkpoint`, which does not hold the task up.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from ...state.store import StateError
from ..clock import Clock
from ..ids import TaskId
from ..threads import Thread
from .bandwidth import Bandwidth
from .figures import SnapshotFigures
from .schedule import first_due, next_due, ready
from .storage import Stopped, Storage, StorageError
from .taking import Overtaken, Subject, TaskSnapshots

__all__ = ["NoSnapshots", "Running", "Snapshots", "Snapshotter"]

LOG = logging.getLogger("tidemill.snapshots")
LOOK_MS = 200
PATIENCE_SECONDS = 3.0


class Running(Protocol):
    """A running task, as far as it matters here."""

    @property
    def id(self) -> TaskId: ...
    @property
    def stores(self) -> Mapping[str, Any]: ...
    @property
    def subtopology(self) -> Any: ...


class Snapshots(Protocol):
    """Takes snapshots of running tasks. For the loop's thread."""

    def turn(self, tasks: Iterable[Running]) -> SnapshotFigures | None:
        """Set the tasks that run now, and return the results of their snapshots.

        None if there are no new ones.
        """
        ...


class NoSnapshots:
    """Takes none."""

    def turn(self, tasks: Iterable[Running]) -> SnapshotFigures | None:
        return None


class Snapshotter:
    """Takes snapshots of the tasks of one process."""

    def __init__(
        self,
        storage: Storage,
        app_id: str,
        interval: int,
        keep: int,
        bandwidth: int | None,
        generation: Callable[[], int],
        scratch: Callable[[str], Path],
        clock: Clock,
        uploading: threading.Lock,
    ) -> None:
        """Set up the snapshots; the thread is started by `start`.

        `interval` is in ms, `bandwidth` in bytes per second. `generation` is the group's; `scratch` returns a directory
        of a name, on the file system of the stores. `uploading` is held while a snapshot is taken.
        """
        self._storage = storage
        self._app_id = app_id
        self._interval = interval
        self._keep = keep
        self._bandwidth = Bandwidth(bandwidth, lambda: clock.monotonic() / 1000)
        self._generation = generation
        self._scratch = scratch
        self._clock = clock
        self._uploading = uploading
        self._looked: int | None = None
        self._subjects: Mapping[str, Subject] = {}
        """The tasks that run, replaced as a whole."""
        self._figures: SnapshotFigures = SnapshotFigures()
        self._reported: SnapshotFigures | None = None
        # Of the thread alone:
        self._due: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._tasks: dict[str, TaskSnapshots] = {}
        self._closing = threading.Event()
        self._thread = Thread("tidemill-snapshots", self.run)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop the thread and give up the upload in progress.

        It does not wait long for a call of the snapshot store.
        """
        self._closing.set()
        self._bandwidth.stop()
        self._thread.join(PATIENCE_SECONDS)

    # In the loop's thread

    def turn(self, tasks: Iterable[Running]) -> SnapshotFigures | None:
        now = self._clock.monotonic()
        if self._looked is not None and now - self._looked < LOOK_MS:
            return None
        self._looked = now
        self._thread.check()
        before = self._subjects
        found: dict[str, Subject] = {}
        for task in tasks:
            store, name = task.stores.get("rocksdb"), str(task.id)
            if store is not None:
                known = before.get(name)
                found[name] = known if known is not None and known.store is store else self._subject(task, name, store)
        if found.keys() != before.keys() or any(found[name] is not before[name] for name in found):
            self._subjects = found
        reported, self._reported = self._reported, self._figures
        return self._figures if reported is not self._figures else None

    def _subject(self, task: Running, name: str, store: Any) -> Subject:
        shapes = {state.spec.name: state.shape for state in task.subtopology.stores}

        def wanted() -> bool:
            subject = self._subjects.get(name)
            return subject is not None and subject.store is store and not self._closing.is_set()

        return Subject(name, store, shapes, task.subtopology.fingerprint, self._generation(), wanted)

    # In its own

    def run(self) -> None:
        """Take snapshots until the snapshotter is closed."""
        while not self._closing.wait(LOOK_MS / 1000):
            self.step()

    def step(self) -> None:
        """Take the snapshot that is due, if one is."""
        subjects, now = self._subjects, self._clock.monotonic()
        for gone in self._due.keys() - subjects.keys():
            del self._due[gone]
            self._tasks.pop(gone, None)
            self._failures.pop(gone, None)
            self._figures = self._figures.without(gone)
        for task in subjects.keys() - self._due.keys():
            self._due[task] = first_due(task, now, self._interval)
        task = ready(self._due, subjects, now)
        if task is not None:
            self._take(subjects[task])

    def _take(self, subject: Subject) -> None:
        task = subject.task
        snapshots = self._tasks.get(task)
        if snapshots is None:
            scratch = self._scratch(f"snapshot-{task}")
            snapshots = self._tasks[task] = TaskSnapshots(
                self._storage, self._app_id, task, self._keep, self._clock, self._bandwidth, scratch
            )
        figures, failed = self._figures, False
        try:
            with self._uploading:
                taken = snapshots.take(subject)
            if taken is not None:
                snapshots.collect()
                self._figures = SnapshotFigures(
                    {**figures.created, task: taken.created},
                    {**figures.sizes, task: taken.size},
                    {**figures.seconds, task: taken.seconds},
                    figures.taken + 1,
                    figures.failures,
                    figures.uploaded + taken.uploaded,
                )
                LOG.info(
                    "task %s: snapshot of %s bytes in %.1f s, %s of them uploaded",
                    task,
                    f"{taken.size:,}",
                    taken.seconds,
                    f"{taken.uploaded:,}",
                    extra={"task": task, "bytes": taken.size, "uploaded": taken.uploaded, "seconds": taken.seconds},
                )
        except Stopped:
            LOG.debug("task %s: the snapshot is given up: it does not run here any more", task)
        except (StateError, StorageError, Overtaken, OSError) as failure:
            failed = subject.wanted()  # a store that was closed is no failure
            if failed:
                self._figures = replace(figures, failures=figures.failures + 1)
                LOG.warning("task %s: no snapshot was taken: %s", task, failure)
        self._failures[task] = self._failures.get(task, 0) + 1 if failed else 0
        self._due[task] = next_due(self._clock.monotonic(), self._interval, self._failures[task])
