"""Downloads of snapshots, for several tasks and files at the same time.

Each task gets the cheapest snapshot that can be used; where stores have no changelogs, exactly the one that committed
offsets name. Files that the task has on its disk already are linked.

A download goes into its own directory, and is complete and verified when it is done; the caller puts it in place. If a
file of a snapshot is missing or damaged, the snapshot is left out with a warning, and the choice is repeated among the
others that exist then.

    ask what there is ─▶ choose ─▶ download and verify all files ─▶ done: the directory
          ▲                │ none is better than the local disk ──▶ done: nothing
          └── one more is left out ◀── a file is missing, damaged, or cannot be read
"""

from __future__ import annotations

import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from ...state.store import Position
from ..clock import Clock
from ..failpoints import hit
from ..ids import TaskId
from ..threads import Thread
from .catalogue import Catalogue
from .choice import Changelog, Found, plan_task
from .manifest import SnapshotFile
from .snapshot_files import checksum_of, fetch_file
from .storage import Damaged, Missing, Stopped, Storage, StorageError

__all__ = ["Download", "DownloadSource", "Downloads", "Wanted", "WantedNewest", "WantedSnapshot"]

LOG = logging.getLogger("tidemill.snapshots")
THREADS = 8
STALLED_MS = 60_000
"""After so long without a byte the changelogs are read instead."""


@dataclass(frozen=True)
class Wanted:
    """What a task needs its stores for."""

    task: TaskId
    local: Position
    changelogs: Sequence[Changelog]
    committed: Mapping[str, int]
    now: int


@dataclass(frozen=True)
class WantedSnapshot:
    """The one snapshot of a task that committed offsets name."""

    task: TaskId
    number: int
    commit: str
    files: Path
    """The directory with the present state of the task, if there is any."""


@dataclass(frozen=True)
class WantedNewest:
    """The newest snapshot of a task, unless the task has it."""

    task: TaskId
    present: str
    """The commit of the present state."""
    files: Path


class Download(Protocol):
    """A download under way. For the thread that has asked for it."""

    @property
    def done(self) -> bool:
        """True when it has ended, in one way or another."""
        ...

    @property
    def path(self) -> Path | None:
        """The directory with the stores when the download is done.

        None if there is nothing better than the local disk.
        """
        ...

    @property
    def lost(self) -> str:
        """Why the one snapshot that was wanted is not there or damaged; "" if it may still be had."""
        ...

    @property
    def trouble(self) -> str:
        """The last failure of the snapshot store; "" if there was none."""
        ...

    @property
    def bytes(self) -> tuple[int, int]:
        """How many have arrived, and of how many."""
        ...

    def abandon(self) -> None:
        """Give the download up; what it has left is removed."""
        ...


class DownloadSource(Protocol):
    """Where snapshots come from."""

    def fetch(self, wanted: Wanted | WantedSnapshot | WantedNewest, arrived: Callable[[], None]) -> Download:
        """Begin to download the best snapshot for a task.

        `arrived` is called, in any thread, when the download has ended.
        """
        ...


class Downloads:
    """The threads that download. They begin with the first download."""

    def __init__(self, storage: Storage, app_id: str, scratch: Callable[[str], Path], clock: Clock) -> None:
        """`scratch` gives a directory of a name, on the file system of the stores."""
        self._storage = storage
        self._app_id = app_id
        self._scratch = scratch
        self._clock = clock
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[Thread] = []
        self._count = 0

    def fetch(self, wanted: Wanted | WantedSnapshot | WantedNewest, arrived: Callable[[], None]) -> Download:
        if not self._threads:
            self._threads = [Thread(f"tidemill-download-{number}", self._run) for number in range(THREADS)]
            for thread in self._threads:
                thread.start()
        for thread in self._threads:
            thread.check()
        self._count += 1
        into = self._scratch(f"download-{wanted.task}-{self._count}")
        download = TaskDownload(self._storage, self._app_id, wanted, into, self._clock, self._work.put, arrived)
        self._work.put(download.plan)
        return download

    def close(self) -> None:
        """End the threads when their current downloads are done."""
        for _ in self._threads:
            self._work.put(None)

    def _run(self) -> None:
        while (action := self._work.get()) is not None:
            action()


class TaskDownload:
    """The download of one task's stores."""

    def __init__(
        self,
        storage: Storage,
        app_id: str,
        wanted: Wanted | WantedSnapshot | WantedNewest,
        into: Path,
        clock: Clock,
        later: Callable[[Callable[[], None]], None],
        arrived: Callable[[], None],
    ) -> None:
        """`later` has an action called in one of the threads."""
        self._storage = storage
        self._app_id = app_id
        self._wanted = wanted
        self._into = into
        self._clock = clock
        self._later = later
        self._arrived = arrived
        self._lock = threading.Lock()
        self._abandoned = self._ended = False
        self._catalogue = Catalogue(storage, app_id, str(wanted.task))
        self._left_out: set[int] = set()
        self._failure: Exception | None = None
        self._outstanding = 0
        self._bytes = (0, 0)
        self._advanced = clock.monotonic()
        self._path: Path | None = None
        self.lost = self.trouble = ""

    @property
    def done(self) -> bool:
        if not self._ended and self._clock.monotonic() - self._advanced > STALLED_MS:
            LOG.warning(
                "task %s: %s has delivered nothing for %d s; %s",
                self._wanted.task,
                self._storage.url,
                STALLED_MS // 1000,
                self._otherwise,
            )
            self.abandon()
        return self._ended or self._abandoned

    @property
    def path(self) -> Path | None:
        return None if self._abandoned else self._path

    @property
    def bytes(self) -> tuple[int, int]:
        return self._bytes

    def abandon(self) -> None:
        with self._lock:
            self._abandoned = True
            removable = self._ended or not self._outstanding
        if removable:
            shutil.rmtree(self._into, ignore_errors=True)

    def plan(self) -> None:
        """Asks what there is and begins with the best."""
        try:
            found = self._choice()
        except StorageError as failure:
            self.trouble = str(failure)
            self._warn("task %s: snapshots cannot be looked for: %s; %s", failure, self._otherwise)
            self._end(None)
            return
        if found is None or self._abandoned:
            self._end(None)
        else:
            self._begin(found)

    def _choice(self) -> Found | None:
        """Return the snapshot to download, if there is one. Raises StorageError."""
        match self._wanted:
            case Wanted() as wanted:
                plans = plan_task(
                    (self._app_id, str(wanted.task)),
                    wanted.local,
                    [found for found in self._catalogue.look().snapshots if found.number not in self._left_out],
                    wanted.changelogs,
                    wanted.committed,
                    wanted.now,
                )
                return plans[0].found if plans else None
            case WantedSnapshot(_, number, commit):
                return None if number in self._left_out else self._exactly(number, commit)
            case WantedNewest(_, present):
                for number in self._catalogue.numbers():
                    if number in self._left_out:
                        continue
                    try:
                        found = self._catalogue.read(number)
                    except (Missing, Damaged):
                        continue
                    commit = found.manifest.position.commit
                    return None if commit in ("", present) else found
                return None

    def _exactly(self, number: int, commit: str) -> Found | None:
        try:
            found = self._catalogue.read(number)
        except (Missing, Damaged) as failure:
            self.lost = str(failure)
            return None
        if found.manifest.position.commit == commit:
            return found
        self.lost = f"snapshot {number} is of another commit: the snapshot store was replaced by a copy"
        return None

    @property
    def _otherwise(self) -> str:
        """What happens without this download."""
        return "restoring without one" if isinstance(self._wanted, Wanted) else "trying again"

    def _begin(self, found: Found) -> None:
        manifest, wanted = found.manifest, self._wanted
        LOG.log(
            logging.DEBUG if isinstance(wanted, WantedNewest) else logging.INFO,
            "task %s: restoring from snapshot %d, of %s bytes%s",
            wanted.task,
            found.number,
            f"{manifest.size:,}",
            ", and the changelogs after it" if isinstance(wanted, Wanted) else "",
        )
        self._failure = None
        self._advanced = self._clock.monotonic()
        self._bytes = (0, sum(file.size for file in manifest.files if file.path))
        try:
            shutil.rmtree(self._into, ignore_errors=True)
            self._into.mkdir(parents=True)
            for file in manifest.files:
                if file.content is not None:
                    fetch_file(self._storage, self._catalogue.root, file, self._into, self._passed)
        except (OSError, StorageError) as failure:
            self._failure = failure
        hit("during-download")
        files = [file for file in manifest.files if file.path and not self._failure]
        self._outstanding = len(files) + 1
        for file in files:
            self._later(partial(self._one, found, file))
        self._finish_one(found)

    def _one(self, found: Found, file: SnapshotFile) -> None:
        """Download a file and verify it."""
        try:
            if not (self._failure or self._abandoned):
                hit("during-download")
                if not self._linked(file):
                    fetch_file(self._storage, self._catalogue.root, file, self._into, self._passed)
        except Stopped:
            pass
        except (OSError, StorageError) as failure:
            self._failure = self._failure or failure
        finally:
            self._finish_one(found)

    def _linked(self, file: SnapshotFile) -> bool:
        """Link a file that is part of the present state of the task; return whether it is."""
        if isinstance(self._wanted, Wanted):
            return False
        present = self._wanted.files / file.name
        try:
            if present.stat().st_size != file.size or checksum_of(present) != file.sha256:
                return False
            os.link(present, self._into / file.name)
        except OSError:  # there is none, or RocksDB has deleted it
            return False
        self._passed(file.size)
        return True

    def _passed(self, size: int) -> None:
        if self._abandoned or self._failure:
            raise Stopped
        with self._lock:
            self._bytes = (self._bytes[0] + size, self._bytes[1])
            self._advanced = self._clock.monotonic()

    def _finish_one(self, found: Found) -> None:
        with self._lock:
            self._outstanding -= 1
            if self._outstanding:
                return
        if self._abandoned or not self._failure:
            self._end(self._into)
            return
        self.trouble = str(self._failure)
        otherwise = "trying again" if isinstance(self._wanted, WantedSnapshot) else "looking for another one"
        self._warn("task %s: snapshot %d cannot be used: %s; %s", found.number, self._failure, otherwise)
        if isinstance(self._wanted, WantedSnapshot) and isinstance(self._failure, (Missing, Damaged)):
            self.lost = str(self._failure)
        self._left_out.add(found.number)
        self.plan()

    def _warn(self, text: str, *arguments: object) -> None:
        """Log a failure; the recovery tells of those that tasks wait for."""
        level = logging.WARNING if isinstance(self._wanted, Wanted) else logging.DEBUG
        LOG.log(level, text, self._wanted.task, *arguments)

    def _end(self, path: Path | None) -> None:
        with self._lock:
            self._path = path
            self._ended = True
        if path is None or self._abandoned:
            shutil.rmtree(self._into, ignore_errors=True)
        self._arrived()
