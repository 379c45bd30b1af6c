"""Progress and lags of restores: written by the recovery thread, read by the main thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from ..ids import TaskId
from ..reminder import Reminder
from .opening import Opening, Progress

__all__ = ["RestoreStatus"]

LOG = logging.getLogger("tidemill.recovery")
REMIND_MS = 10_000
"""How often the same trouble is logged."""


class RestoreStatus:
    """The progress and lag of each task being restored or followed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: dict[TaskId, Progress] = {}
        self._lags: dict[TaskId, int] = {}
        self._reminder = Reminder(REMIND_MS)

    def report(self, opening: Opening, bytes_left: int = 0) -> None:
        """Record the progress of a task; standbys have none, since they have no end."""
        if opening.standby:
            return
        left = sum(max(0, cursor.target - cursor.position) for cursor in opening.cursors)
        progress = Progress(opening.task, max(0, opening.total - left), opening.total, bytes_left)
        with self._lock:
            self._progress[opening.task] = progress

    def forget(self, task: TaskId) -> None:
        """Forget a task that is no longer being opened."""
        with self._lock:
            self._progress.pop(task, None)

    def lag(self, lags: Mapping[TaskId, int]) -> None:
        """Record the changelog lag of each task, in records."""
        with self._lock:
            self._lags = dict(lags)

    def lags(self) -> dict[TaskId, int]:
        """Return the last recorded lags."""
        with self._lock:
            return dict(self._lags)

    def progress(self) -> tuple[Progress, ...]:
        """Return the progress of each task that is being restored."""
        with self._lock:
            return tuple(self._progress.values())

    def trouble(self, failure: Exception, now: int) -> None:
        """Log a failure after which recovery tries again; the same one, from time to time."""
        if self._reminder.due(now, str(failure)):
            LOG.warning("%s; trying again", failure)
