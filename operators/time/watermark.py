"""Watermarks: the time of a step, based on the records that may still arrive.

Without a watermark a step's time is the largest timestamp it has seen. With `bounded("5s", idle="30s")` on its sources
it is the newest timestamp of the input that is furthest behind, minus the bound. Inputs without records for the idle
time are excluded, and if all inputs are idle, time follows the wall clock. `engine/watermarks/watermarks.py` computes
the time, and a step receives it by `advance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .durations import Duration, format_duration, parse_duration

__all__ = ["Watermark", "bounded", "together"]

GRAINS = 16
"""The number of steps per bound in which the watermark moves, instead of with every record."""


@dataclass(frozen=True)
class Watermark:
    """The watermark of a source: how far it may be out of order, and when it is idle.

    `tm.bounded` makes it.

    Example:
        >>> print(tm.bounded("5s", idle="30s"))
        at most 5s out of order, idle after 30s
    """

    bound: int
    idle: int | None = None
    max_ahead: int | None = None
    """How far a record may be ahead of the wall clock; None: not checked."""

    @property
    def grain(self) -> int:
        """The steps in which time moves."""
        return max(1, self.bound // GRAINS)

    def __str__(self) -> str:
        idle = "" if self.idle is None else f", idle after {format_duration(self.idle)}"
        ahead = "" if self.max_ahead is None else f", at most {format_duration(self.max_ahead)} ahead of the wall clock"
        return f"at most {format_duration(self.bound)} out of order{idle}{ahead}"


def bounded(bound: Duration, *, idle: Duration | None = None, max_ahead: Duration | None = None) -> Watermark:
    """Make a watermark for a source whose partitions are out of order by a bounded time.

    If no partition delivers records any more, time follows the wall clock, so that windows close. A single record of a
    producer with a wrong clock closes all windows, unless `max_ahead` makes it an error.

    Args:
        bound: How far records of one partition are out of order.
        idle: After this time without records, by the wall clock, a partition is excluded. Without it, an idle
            partition holds time back forever.
        max_ahead: A record further ahead of the wall clock is an error, to which the source's policy applies; with
            `on_invalid="partition_time"` it gets the newest time of its partition.

    Raises:
        TopologyError: An argument is not a duration.

    Example:
        >>> clicks = app.stream("clicks", value=tm.json, watermark=tm.bounded("5s", idle="30s", max_ahead="1h"))
    """
    return Watermark(
        parse_duration(bound, "tm.bounded()"),
        None if idle is None else parse_duration(idle, "idle", at_least=1),
        None if max_ahead is None else parse_duration(max_ahead, "max_ahead"),
    )


def together(watermarks: Iterable[Watermark | None]) -> Watermark | None:
    """Return the watermark where several inputs meet: the largest bound and idle time of all.

    `max_ahead` is checked at the sources only.
    """
    known = [watermark for watermark in watermarks if watermark is not None]
    if not known:
        return None
    idles = [watermark.idle for watermark in known]
    idle = None if None in idles else max(idle for idle in idles if idle is not None)
    return Watermark(max(watermark.bound for watermark in known), idle)
