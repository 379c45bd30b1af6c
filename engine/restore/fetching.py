"""Downloads snapshots for tasks and standbys before their changelogs are replayed.

A store that is nearly up to date needs no snapshot. Otherwise the task waits, with its stores open, until the download
is done; other tasks are replayed meanwhile. A download belongs to the task and not to one attempt to open it: a
promoted standby, or a task that is retried after a failure, continues with the download in progress.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from ...state.input_names import committed_inputs
from ...state.store import TOMBSTONES_KEPT_MS
from ..clock import Clock
from ..ids import TaskId
from ..kafka.topics import Topics
from ..snapshots.choice import Changelog, worth_asking
from ..snapshots.downloads import Download, DownloadSource, Wanted
from .opening import Opening
from .restore_status import RestoreStatus

__all__ = ["Fetching"]

LOG = logging.getLogger("tidemill.recovery")


class Fetching:
    """The snapshot downloads for the tasks of a process, used by the recovery thread."""

    def __init__(
        self, source: DownloadSource | None, topics: Topics, clock: Clock, arrived: Callable[[], None]
    ) -> None:
        """Create it; without a `source` there are no snapshots.

        `arrived` is called, in any thread, when a download has ended.
        """
        self._source = source
        self._topics = topics
        self._clock = clock
        self._arrived = arrived
        self.lags: dict[TaskId, int] = {}
        """Lags of standbys that follow snapshots; those that follow changelogs are known elsewhere."""
        self._downloads: dict[TaskId, Download] = {}
        self._installed: set[TaskId] = set()
        """Tasks whose stores came from a snapshot.

        If such stores were found corrupt and wiped, the snapshot may be corrupt too.
        """

    def begin(self, openings: Iterable[Opening]) -> None:
        """Start downloads where they are worthwhile, and set `fetching` for those tasks.

        Raises Retryable.
        """
        openings = [opening for opening in openings if not opening.looked and self._may(opening)]
        keys = [(topic, o.task.partition) for o in openings for topic in o.subtopology.changelogs.values()]
        if not keys or self._source is None:
            return
        begins, ends = self._topics.begins(keys), self._topics.ends(keys, committed=False)
        kept = self._topics.deletions_kept(sorted({topic for topic, _ in keys}))
        now = self._clock.now()
        for opening in openings:
            if opening.task in self._downloads:
                opening.fetching = True
                continue
            changelogs = [
                Changelog(
                    state.spec.name,
                    begins[topic, opening.task.partition],
                    ends[topic, opening.task.partition],
                    opening.topic_ids.get(topic, ""),
                    kept.get(topic, TOMBSTONES_KEPT_MS),
                    state.shape,
                )
                for state in opening.subtopology.stores
                if state.spec.kind == "rocksdb" and (topic := opening.subtopology.changelogs.get(state.spec.name))
            ]
            local = opening.stores["rocksdb"].position()
            committed = {} if opening.standby else committed_inputs(opening.positions, opening.topic_ids)
            if worth_asking(local, changelogs, committed, now):
                wanted = Wanted(opening.task, local, changelogs, committed, now)
                self._downloads[opening.task] = self._source.fetch(wanted, self._arrived)
                opening.fetching = True

    def _may(self, opening: Opening) -> bool:
        """Return whether a snapshot can be used for a task."""
        if "rocksdb" not in opening.stores:
            return False
        return not (opening.task in self._installed and not opening.stores["rocksdb"].position().changelogs)

    def arrived(self, openings: Iterable[Opening]) -> list[tuple[Opening, Path | None]]:
        """Return the waiting tasks whose download has ended, with the downloaded directory if any."""
        found: list[tuple[Opening, Path | None]] = []
        for opening in openings:
            if opening.fetching and self._downloads[opening.task].done:
                path = self._downloads.pop(opening.task).path
                opening.fetching, opening.looked = False, True
                if path is not None:
                    self._installed.add(opening.task)
                found.append((opening, path))
        return found

    def follow(self, openings: Iterable[Opening]) -> None:
        """Do nothing: standbys follow changelogs."""

    def report(self, openings: Iterable[Opening], status: RestoreStatus) -> None:
        """Report how many bytes of their snapshots the waiting tasks still need."""
        for opening in openings:
            if opening.fetching:
                done, of = self._downloads[opening.task].bytes
                status.report(opening, max(0, of - done))

    def __bool__(self) -> bool:
        """Return whether any download is in progress."""
        return bool(self._downloads)

    def drop(self, task: TaskId) -> None:
        """Abandon the download of a task that is no longer wanted."""
        download = self._downloads.pop(task, None)
        if download is not None:
            download.abandon()

    def close(self) -> None:
        """Abandon all downloads."""
        for task in list(self._downloads):
            self.drop(task)
