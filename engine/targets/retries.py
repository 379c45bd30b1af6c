"""When a target that is unavailable is tried again, and when that is given up."""

from __future__ import annotations

__all__ = ["gives_up", "pause", "says_so"]

FIRST_MS = 100
LONGEST_MS = 5_000
LINE_MS = 30_000


def pause(attempts: int) -> int:
    """Return the pause in ms after this number of failed attempts: it doubles, up to 5 s."""
    return min(FIRST_MS * 2 ** min(attempts - 1, 16), LONGEST_MS)


def gives_up(began: int, now: int, limit: int) -> bool:
    """Return whether attempts have failed for `limit` ms."""
    return now - began >= limit


def says_so(said: int | None, now: int) -> bool:
    """Return whether a failure is logged: the first, and one every 30 s after the last that was."""
    return said is None or now - said >= LINE_MS
