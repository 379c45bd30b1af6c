"""How the time of a step is told from the records it may still expect: watermarks.

Without one a step's time is the newest timestamp it has seen. With `bounded("5s", idle="30s")` on its sources it is the
newest timestamp of the input that is furthest behind, less the bound; an input that brings nothing for the idle time is
not waited for, and when none brings anything time goes on by the wall clock. Which time that is at a record is decided
in `engine/watermarks/watermarks.py`; a step is told by `advance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .durations import Duration, format_duration, parse_duration

__all__ = ["Watermark", "bounded", "together"]

GRAINS = 16
"""Parts of the bound by which time goes on: it is told so often, not with every record."""


@dataclass(frozen=True)
class Watermark:
    """How far out of order an input may be, and after how long a silence it is not waited for."""

    bound: int
    idle: int | None = None
    max_ahead: int | None = None
    """How far a record may be ahead of the wall clock; None when that is not looked at."""

    @property
    def grain(self) -> int:
        """The steps in which time goes on."""
        return max(1, self.bound // GRAINS)

    def __str__(self) -> str:
        idle = "" if self.idle is None else f", idle after {format_duration(self.idle)}"
        ahead = "" if self.max_ahead is None else f", at most {format_duration(self.max_ahead)} ahead of the wall clock"
        return f"at most {format_duration(self.bound)} out of order{idle}{ahead}"


def bounded(bound: Duration, *, idle: Duration | None = None, max_ahead: Duration | None = None) -> Watermark:
    """For `app.stream(watermark=)`: records are out of order by at most `bound` within a partition.

    A partition that brings nothing for `idle` of wall-clock time is not waited for. When none brings anything any more,
    time goes on by the wall clock, so that windows close. Without `idle` a silent partition holds time up for ever.

    A record whose time is more than `max_ahead` ahead of the wall clock is an error, to which the source's policy
    applies; with `on_invalid="partition_time"` it gets the newest time of its partition. Without `max_ahead` a single
    record of a producer whose clock is wrong closes all windows, and what comes after it is late.
    """
    return Watermark(
        parse_duration(bound, "tm.bounded()"),
        None if idle is None else parse_duration(idle, "idle", at_least=1),
        None if max_ahead is None else parse_duration(max_ahead, "max_ahead"),
    )


def together(watermarks: Iterable[Watermark | None]) -> Watermark | None:
    """What holds where several inputs meet: the most that any of them allows for. Wrong clocks are the sources'."""
    known = [watermark for watermark in watermarks if watermark is not None]
    if not known:
        return None
    idles = [watermark.idle for watermark in known]
    idle = None if None in idles else max(idle for idle in idles if idle is not None)
    return Watermark(max(watermark.bound for watermark in known), idle)
