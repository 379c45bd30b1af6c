"""Restores of stores without changelogs, from the snapshot that committed offsets name.

    the stores of a task contain ...                                  and then
    the commit that the offsets name                                  it is ready
    something, and the offsets name no commit                         they are emptied, and it is ready
    another commit: an older one, or one that was never made          the snapshot is downloaded in their place

A process that is killed between a commit and the next one has the committed state on its disk, since a snapshot begins
with a flush and nothing is written between commits. If it is killed between the local write and the commit, its disk
is ahead: then the snapshot before is downloaded, but files that are on the disk are linked. No other snapshot will do,
so a snapshot store that does not answer is waited for, and a snapshot that is lost or damaged ends the process.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from ...state.store import Position
from ..clock import Clock
from ..errors import StateUnusable
from ..ids import TaskId
from ..kafka.topics import Topics
from ..plan.plan import Plan
from ..reminder import Reminder
from ..snapshots.downloads import Download, DownloadSource, WantedNewest, WantedSnapshot
from .fetching import Fetching
from .local_storage import Stores
from .opening import Opening
from .restore_status import RestoreStatus

__all__ = ["SnapshotRestore", "fetching"]

LOG = logging.getLogger("tidemill.recovery")
FOLLOW_MS = 5_000
"""How often a standby looks for a newer snapshot."""
PAUSE_MS = 2_000
REMIND_MS = 10_000
TRIES = 3
"""How often a snapshot that seems lost or damaged is downloaded again."""


class SnapshotRestore:
    """The restores of a process's tasks and standbys, used by the recovery thread."""

    def __init__(
        self, source: DownloadSource | None, stores: Stores, clock: Clock, arrived: Callable[[], None]
    ) -> None:
        """Create it; `arrived` is called, in any thread, when a download has ended."""
        self._source = source
        self._stores = stores
        self._clock = clock
        self._arrived = arrived
        self._downloads: dict[TaskId, Download] = {}
        self._following: set[TaskId] = set()
        """Tasks whose download is of the newest snapshot, whichever that is."""
        self._again: dict[TaskId, int] = {}
        """When to try again, for tasks whose download failed."""
        self._lost: dict[TaskId, int] = {}
        """How often the snapshot of a task was not there or damaged."""
        self._looked: dict[TaskId, int] = {}
        """When a standby last looked for a newer snapshot."""
        self._reminder = Reminder(REMIND_MS)
        self.lags: dict[TaskId, int] = {}
        """0 for each standby that has the newest snapshot that it knew of; replaced as a whole."""

    def begin(self, openings: Iterable[Opening]) -> None:
        """Begin to restore the stores that need it, and set `fetching` for those tasks."""
        for opening in openings:
            store = opening.stores.get("rocksdb")
            if store is None or opening.mark is None:
                continue
            opening.fetching = not self._is_right(opening, store.position())
            if not opening.fetching:
                self.drop(opening.task)

    def _is_right(self, opening: Opening, local: Position) -> bool:
        assert opening.mark is not None
        return local.commit == opening.mark.commit and (bool(local.commit) or local == Position())

    def arrived(self, openings: Iterable[Opening]) -> list[tuple[Opening, Path | None]]:
        """Return the tasks whose download has ended, each with the directory to put in place.

        Raises StateUnusable for a snapshot that is lost or damaged.
        """
        now = self._clock.monotonic()
        found: list[tuple[Opening, Path | None]] = []
        for opening in openings:
            task = opening.task
            if not opening.fetching:
                continue
            download = self._downloads.get(task)
            if download is None:
                if self._again.get(task, now) <= now:
                    found += self._start(opening)
            elif download.done:
                del self._downloads[task]
                opening.fetching = download.path is None and not opening.standby
                if not opening.standby and task not in self._following:
                    self._ended(opening, download)
                    self._again[task] = now + PAUSE_MS
                if download.path is not None:
                    found.append((opening, download.path))
                if opening.standby:
                    self.lags = {**self.lags, task: 0}
                self._following.discard(task)
        return found

    def _start(self, opening: Opening) -> list[tuple[Opening, Path | None]]:
        """Begin a download; return the task with an empty directory if it has no state."""
        mark = opening.mark
        assert mark is not None
        if mark.commit:
            assert self._source is not None, "without a snapshot store, this durability is refused"
            wanted = WantedSnapshot(opening.task, mark.number, mark.commit, self._stores.files(opening.task))
            self._downloads[opening.task] = self._source.fetch(wanted, self._arrived)
            return []
        LOG.warning(
            "task %s: the group has committed no offsets for its state, so the state on this machine is removed and "
            "the task begins without any",
            opening.task,
        )
        empty = self._stores.scratch(f"empty-{opening.task}")
        shutil.rmtree(empty, ignore_errors=True)
        empty.mkdir(parents=True)
        opening.fetching = False
        return [(opening, empty)]

    def _ended(self, opening: Opening, download: Download) -> None:
        """Count the downloads that did not bring what was wanted. Raises StateUnusable after a few.

        What has been downloaded and can be opened is forgotten by `begin`.
        """
        if download.trouble:
            self._warn(opening, download)
        lost = "it cannot be opened" if download.path is not None else download.lost
        if not lost:
            return
        count = self._lost[opening.task] = self._lost.get(opening.task, 0) + 1
        if (count >= TRIES and download.path is None) or count > TRIES:
            assert opening.mark is not None
            raise StateUnusable(
                f"task {opening.task}: the committed offsets name snapshot {opening.mark.number} of its state, which "
                f"cannot be restored: {lost}. No other snapshot is of these offsets. Put the file back from a copy of "
                "the snapshot store; or, to process the inputs again, stop all instances and run `tidemill reset`"
            )

    def _warn(self, opening: Opening, download: Download) -> None:
        """Say now and then what tasks wait for."""
        if self._reminder.due(self._clock.monotonic()):
            others = len((self._downloads.keys() | self._again.keys()) - {opening.task})
            LOG.warning(
                "task %s%s: the snapshot that the committed offsets name cannot be restored: %s; trying again",
                opening.task,
                f" and up to {others} others" if others else "",
                download.trouble,
            )

    def follow(self, openings: Iterable[Opening]) -> None:
        """Let standbys look for newer snapshots, where it is time."""
        now = self._clock.monotonic()
        for opening in openings:
            store, task = opening.stores.get("rocksdb"), opening.task
            if not opening.standby or store is None or opening.fetching or self._source is None:
                continue
            if task not in self._looked or now - self._looked[task] >= FOLLOW_MS:
                self._looked[task] = now
                self._following.add(task)
                wanted = WantedNewest(task, store.position().commit, self._stores.files(task))
                self._downloads[task] = self._source.fetch(wanted, self._arrived)
                opening.fetching = True

    def report(self, openings: Iterable[Opening], status: RestoreStatus) -> None:
        """Report how many bytes of their snapshots the waiting tasks still need."""
        for opening in openings:
            download = self._downloads.get(opening.task)
            if opening.fetching and download is not None:
                done, of = download.bytes
                status.report(opening, max(0, of - done))

    def drop(self, task: TaskId) -> None:
        """Abandon the download of a task that is no longer wanted."""
        self._again.pop(task, None)
        self._lost.pop(task, None)
        self._looked.pop(task, None)
        self._following.discard(task)
        self.lags = {other: lag for other, lag in self.lags.items() if other != task}
        download = self._downloads.pop(task, None)
        if download is not None:
            download.abandon()

    def close(self) -> None:
        """Abandon all downloads."""
        for task in list(self._downloads):
            self.drop(task)


def fetching(
    plan: Plan,
    source: DownloadSource | None,
    topics: Topics,
    stores: Stores,
    clock: Clock,
    arrived: Callable[[], None],
) -> Fetching | SnapshotRestore:
    """Return what fetches the snapshots of tasks, by where the program's state is durable."""
    if plan.changelogs:
        return Fetching(source, topics, clock, arrived)
    return SnapshotRestore(source, stores, clock, arrived)
