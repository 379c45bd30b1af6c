"""The arithmetic of join windows: which records match, and how long they are kept.

Pure: integers in, integers out; milliseconds of event time. A left record at `t` matches right records in `[t - before,
t + after]`, both ends included, and so a right record matches left records in `[t - after, t + before]`. Records may be
late by the grace, so a side is kept for `before + after + grace` behind its newest record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..errors import TopologyError
from .durations import Duration, format_duration, parse_duration

__all__ = ["JoinWindow", "Within", "join_window"]

Within: TypeAlias = "Duration | tuple[Duration, Duration]"
"""The maximum time between two records: one for both directions, or (before, after)."""

EXPIRY_INTERVAL_MS = 1_000
"""The minimum event time between two deletions of expired records."""


@dataclass(frozen=True)
class JoinWindow:
    """A join window: which records of two streams match."""

    before: int
    """How much older than a left record a matching right record may be."""
    after: int
    """How much newer than a left record a matching right record may be."""
    grace: int

    @property
    def size(self) -> int:
        """The length of the window."""
        return self.before + self.after

    @property
    def bucket(self) -> int:
        """The length of the buckets in which records are stored: a window overlaps two."""
        return max(1, self.size)

    def kept_from(self, newest: int) -> int:
        """Return the time from which the records of a side are kept, given its newest record."""
        return newest - self.size - self.grace

    def expired_before(self, newest: int) -> int:
        """Return the time such that buckets that start before it have only expired records."""
        return self.kept_from(newest) - self.bucket + 1

    def next_expiry(self, newest: int) -> int:
        """Return the time of the newest record at which expired buckets are deleted next."""
        grain = max(EXPIRY_INTERVAL_MS, self.bucket)
        return (newest // grain + 1) * grain

    def __str__(self) -> str:
        near = format_duration(self.before)
        if self.before != self.after:
            near = f"{near} before and {format_duration(self.after)} after"
        return f"within {near}, grace {format_duration(self.grace)}"


def join_window(within: object, grace: object) -> JoinWindow:
    """Return the window for the arguments of `.join()`; raise TopologyError if they are invalid."""
    if isinstance(within, (tuple, list)):
        ends: list[object] = [*within]
        if len(ends) != 2:
            raise TopologyError(f".join(within=) takes a duration or a pair (before, after), not {within!r}")
        before, after = ends
    else:
        before = after = within
    return JoinWindow(
        parse_duration(before, ".join(within=)"),
        parse_duration(after, ".join(within=)"),
        parse_duration(grace, ".join(grace=)"),
    )
