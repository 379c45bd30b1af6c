"""Arithmetic of joins in time: which records of two streams match, and for how long one waits for the other.

Pure: integers in, integers out; milliseconds of event time. A record of the left at `t` matches records of the right
in `[t - before, t + after]`, both ends included, and so a record of the right those of the left in
`[t - after, t + before]`. Records may be late by the grace, so a side is kept for `before + after + grace` behind the
newest record of that side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..errors import TopologyError
from .durations import Duration, format_duration, parse_duration

__all__ = ["JoinWindow", "Within", "join_window"]

Within: TypeAlias = "Duration | tuple[Duration, Duration]"
"""How far apart two records may be: one length for both directions, or (before, after)."""

SWEEP_MS = 1_000
"""Records that are of no more use are deleted at most once in so much event time."""


@dataclass(frozen=True)
class JoinWindow:
    """Which records of two streams match."""

    before: int
    """How much older than a record of the left one of the right may be."""
    after: int
    """How much newer."""
    grace: int

    @property
    def size(self) -> int:
        """The length of the window."""
        return self.before + self.after

    @property
    def bucket(self) -> int:
        """The length of time whose records are kept together: a window touches two."""
        return max(1, self.size)

    def kept_from(self, newest: int) -> int:
        """Records of a side that are older than this are not kept any more, given the newest of that side."""
        return newest - self.size - self.grace

    def expired_before(self, newest: int) -> int:
        """The buckets that start before this hold nothing that is seen any more."""
        return self.kept_from(newest) - self.bucket + 1

    def next_sweep(self, newest: int) -> int:
        """When the newest record is this new, expired buckets are to be deleted again."""
        grain = max(SWEEP_MS, self.bucket)
        return (newest // grain + 1) * grain

    def __str__(self) -> str:
        near = format_duration(self.before)
        if self.before != self.after:
            near = f"{near} before and {format_duration(self.after)} after"
        return f"within {near}, grace {format_duration(self.grace)}"


def join_window(within: object, grace: object) -> JoinWindow:
    """The window from the arguments of `.join()`; TopologyError when they do not make one."""
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
