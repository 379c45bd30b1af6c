"""When the snapshot of a task is due. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping

__all__ = ["first_due", "next_due", "ready"]

LEAST_PAUSE_MS = 5_000


def first_due(task: str, now: int, interval: int) -> int:
    """For a task that begins to run: those of a process are spread over the interval."""
    return now + interval * (zlib.crc32(task.encode()) % 1000) // 1000


def next_due(now: int, interval: int, failures: int) -> int:
    """Return when a task is due next, after a try.

    After failures it is due sooner than after a success, and later with each failure in a row.
    """
    return now + (interval if failures == 0 else min(interval, LEAST_PAUSE_MS * 2 ** min(failures - 1, 10)))


def ready(due: Mapping[str, int], running: Iterable[str], now: int) -> str | None:
    """Return the task whose snapshot is due, of several the one that has waited longest."""
    tasks = [task for task in running if due.get(task, now + 1) <= now]
    return min(tasks, key=lambda task: due[task], default=None)
