"""When to stop and go on reading a partition, and when a turn ends and a commit is due.

Pure. Partitions are paused at a high mark of waiting bytes and resumed at a low one, wide apart, because the client
fetches a paused partition anew when it is resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

__all__ = ["Valves", "commit_due", "flush_due", "horizons", "turn_ends", "valves"]

Key = tuple[str, int]
LATEST = (1 << 63) - 1
"""An event time that nothing is after."""
T = TypeVar("T")
FLUSH_MS = 5_000
FLUSH_CHANGES = 100_000
LEAST_TURN_MS = 20
"""A turn goes on for so long though a commit is due: after a quiet time one is, and all that came is to be in it."""
LONGEST_TURN_MS = 500
"""A turn goes on for no longer though no commit is due: in between, tasks come and go and records are received."""


class Valves(NamedTuple):
    """Partitions to stop and to go on reading."""

    pause: tuple[Key, ...]
    resume: tuple[Key, ...]


def valves(waiting: Mapping[Key, int], paused: frozenset[Key], budget: int) -> Valves:
    """`waiting` are the bytes that wait by partition; `budget` is for all of them together.

    A partition is paused when it holds more than its share, and resumed at a quarter of that.
    """
    share = budget // max(1, len(waiting))
    return Valves(
        tuple(key for key, size in waiting.items() if size > share and key not in paused),
        tuple(key for key, size in waiting.items() if size <= share // 4 and key in paused),
    )


def commit_due(since_last: int, interval: int, dirty: int, cache_bytes: int, pending: bool) -> bool:
    """Whether to commit now.

    `since_last` and `interval` in ms, `dirty` and `cache_bytes` in bytes; `pending` says whether anything was processed
    since the last commit.
    """
    return pending and (since_last >= interval or dirty > cache_bytes // 2)


def turn_ends(began: int, last_commit: int, interval: int) -> int:
    """Until when a turn that began at a moment may begin further runs of tasks. All in ms."""
    return max(began + LEAST_TURN_MS, min(last_commit + interval, began + LONGEST_TURN_MS))


def flush_due(changes: int, since_last: int) -> bool:
    """Whether a store should be written to disk now: what is not is replayed after a crash.

    `changes` are those since the last flush, `since_last` the ms.
    """
    return changes >= FLUSH_CHANGES or (changes > 0 and since_last >= FLUSH_MS)


def horizons(times: Mapping[T, int | None], apart: int) -> dict[T, int]:
    """Up to what event time each task may go so that none runs more than `apart` ms ahead of another's next record.

    `times` are the event times of the tasks' next records, None for a task that has none and need not be waited for.
    Tasks that must wait for others are left out; the one furthest behind never is.
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
