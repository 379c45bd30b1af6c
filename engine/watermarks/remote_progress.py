"""Progress of tasks in other processes, as far as their marks are known here.

No I/O. Only tasks with a backlog count. Tasks that feed windows through a repartition topic stay within some event time
of those in other processes, so that what has to wait for the slowest stays small. A task that makes no progress for
long is not waited for: that loses no records, it only keeps more windows open.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

__all__ = ["AHEAD_MS", "RemoteMarks", "RemoteProgress"]

AHEAD_MS = 3_600_000
"""The least event time that a task may run ahead of remote ones: their known times are older by a commit and a
fetch."""

RemoteMarks = Iterable[tuple[int, int, int]]
"""Tasks that have more to read: their sub-topology as in marks, their number, and their time."""


class RemoteProgress:
    """The last known time of the slowest remote task of each sub-topology."""

    def __init__(self, timeout: int) -> None:
        """Take the `timeout` in ms: how long to wait for a task that makes no progress."""
        self._timeout = timeout
        self._slowest: dict[int, tuple[int, int]] = {}

    def note(self, behind: RemoteMarks, here: Set[tuple[int, int]], now: int) -> None:
        """Take the known marks; `here` are the tasks of this process, with times known exactly."""
        slowest: dict[int, int] = {}
        for subtopology, number, time in behind:
            if time >= 0 and (subtopology, number) not in here and time < slowest.get(subtopology, time + 1):
                slowest[subtopology] = time
        self._slowest = {
            subtopology: known
            if (known := self._slowest.get(subtopology)) is not None and known[0] == time
            else (time, now)
            for subtopology, time in slowest.items()
        }

    def until(self, subtopology: int, apart: int, now: int) -> int | None:
        """Return the limit of event time for tasks that may be `apart` ms apart; None for no limit."""
        known = self._slowest.get(subtopology)
        if known is None or now - known[1] > self._timeout:
            return None
        return known[0] + max(apart, AHEAD_MS)
