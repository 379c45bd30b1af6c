"""Decides when partitions are paused, when a turn ends, and when a commit is due.

Pure. Partitions are paused at a high mark of queued bytes and resumed at a low one, far apart, because the client
fetches the records of a paused partition again when it is resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from ...state.topic_partition import TopicPartition

__all__ = ["PauseResume", "commit_due", "flush_due", "pause_and_resume", "time_limits", "turn_ends"]

LATEST = (1 << 63) - 1
"""An event time that no other exceeds."""
T = TypeVar("T")
FLUSH_MS = 5_000
FLUSH_CHANGES = 100_000
LEAST_TURN_MS = 20
"""A turn lasts at least this long even if a commit is due: after a quiet time a commit is due at once, and should
include all records that have arrived."""
LONGEST_TURN_MS = 500
"""A turn lasts at most this long even if no commit is due: between turns, tasks are assigned and revoked, and records
are received."""


class PauseResume(NamedTuple):
    """Partitions to pause and partitions to resume."""

    pause: tuple[TopicPartition, ...]
    resume: tuple[TopicPartition, ...]


def pause_and_resume(
    waiting: Mapping[TopicPartition, int], paused: frozenset[TopicPartition], budget: int
) -> PauseResume:
    """Decide which partitions to pause and resume.

    `waiting` is the queued bytes by partition; `budget` is for all of them together. A partition is paused when it
    holds more than its share, and resumed at a quarter of that.
    """
    share = budget // max(1, len(waiting))
    return PauseResume(
        tuple(key for key, size in waiting.items() if size > share and key not in paused),
        tuple(key for key, size in waiting.items() if size <= share // 4 and key in paused),
    )


def commit_due(since_last: int, interval: int, dirty: int, cache_bytes: int, pending: bool) -> bool:
    """Return whether to commit now.

    `since_last` and `interval` in ms, `dirty` and `cache_bytes` in bytes; `pending` is whether anything was processed
    since the last commit.
    """
    return pending and (since_last >= interval or dirty > cache_bytes // 2)


def turn_ends(began: int, last_commit: int, interval: int) -> int:
    """Return the time until which a turn may start further runs of tasks. All in ms."""
    return max(began + LEAST_TURN_MS, min(last_commit + interval, began + LONGEST_TURN_MS))


def flush_due(changes: int, since_last: int) -> bool:
    """Return whether to flush a store to disk now; unflushed changes are replayed after a crash.

    `changes` is their number since the last flush, `since_last` the time in ms.
    """
    return changes >= FLUSH_CHANGES or (changes > 0 and since_last >= FLUSH_MS)


def time_limits(times: Mapping[T, int | None], apart: int) -> dict[T, int]:
    """Return the event time up to which each task may go, at most `apart` ms ahead of another.

    `times` are the event times of the tasks' next records, None for a task that has none and need not be waited for. A
    task may not go further than `apart` ms beyond another task's next record. Tasks that must wait for others are left
    out; the one furthest behind never is.
    """
    behind = sorted(time for time in times.values() if time is not None)
    if not behind:
        return {}
    second = behind[1] if len(behind) > 1 else None
    found: dict[T, int] = {}
    for task, time in times.items():
        if time is None:
            continue
        other = second if time == behind[0] else behind[0]
        until = LATEST if other is None else other + apart
        if time <= until:
            found[task] = until
    return found
