"""Liveness and readiness of a process.

*Live*: the processing thread makes progress; a process in which it hangs for longer than `max_poll_interval` should be
killed. *Ready*: the process is a member of the group and all its tasks run; a rolling update can continue. Pure
decisions.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...operators.time.durations import format_duration
from .stats import Stats

__all__ = ["Health", "live", "ready"]


@dataclass(frozen=True)
class Health:
    """A result and its reason in one line."""

    ok: bool
    reason: str


def live(stats: Stats, max_poll_interval: int, now: int) -> Health:
    """Return whether the processing thread makes progress. A process that is starting is live."""
    silent = now - stats.turned
    if stats.turned and silent > max_poll_interval:
        return Health(
            False,
            f"the processing thread has not finished a turn for {format_duration(silent // 1000 * 1000)}, which is "
            f"longer than max_poll_interval ({format_duration(max_poll_interval)}): a call hangs",
        )
    return Health(True, "running" if stats.turned else "starting")


def ready(stats: Stats) -> Health:
    """Return whether the process is a member and runs all its tasks."""
    if not stats.joined:
        return Health(False, "not a member of the group yet")
    if stats.restoring:
        return Health(False, f"{stats.restoring} tasks are being restored, {stats.restore_remaining:,} records to go")
    return Health(True, f"{stats.running} tasks running")
