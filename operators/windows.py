"""Arithmetic of windows: which windows a time falls into, when a window closes, what can be forgotten.

Pure: integers in, integers out; milliseconds of event time. A window `[start, start + size)` begins at a multiple of
the advance, never before 0. It is *closed* for a stream time of `start + size + grace` and beyond: then it takes no
more records, and is emitted if results are wanted on closing. Its entry is *expired* once a window begins at that time
or later (after that time, if it is emitted on closing): then a look-up no longer finds it in Kafka Streams either.
"""

from __future__ import annotations

from dataclasses import dataclass

from .durations import Duration, format_duration, parse_duration
from .errors import TopologyError

__all__ = ["Emit", "TimeWindows", "hopping", "tumbling"]


@dataclass(frozen=True)
class TimeWindows:
    """Windows of one size that begin at every multiple of the advance."""

    size: int
    advance: int
    grace: int

    @property
    def span(self) -> int:
        """From the start of a window to its close."""
        return self.size + self.grace

    @property
    def tumbling(self) -> bool:
        """True when each time is in exactly one window."""
        return self.size == self.advance

    def starts(self, timestamp: int) -> range:
        """The starts of all windows that hold the timestamp, oldest first."""
        newest = timestamp - timestamp % self.advance
        oldest = newest - (self.size - 1 - timestamp % self.advance) // self.advance * self.advance
        return range(max(oldest, 0), newest + 1, self.advance)

    def closed_before(self, stream_time: int) -> int:
        """All windows that start before this are closed, the others open."""
        return stream_time - self.span + 1

    def expired_before(self, stream_time: int, *, on_close: bool) -> int:
        """The entries of windows that start before this can be forgotten: a younger window began when they were closed.

        Where results are sent on close, a window that closes just when the youngest begins is kept.
        """
        return self.newest_start(stream_time) - self.span + (not on_close)

    def next_close(self, stream_time: int) -> int:
        """The next stream time at which a window closes."""
        return (max(stream_time - self.span, -self.advance) // self.advance + 1) * self.advance + self.span

    def newest_start(self, stream_time: int) -> int:
        """The start of the newest window that began by the stream time; below 0 before the first record."""
        return stream_time - stream_time % self.advance

    def __str__(self) -> str:
        kind = f"tumbling {format_duration(self.size)}"
        if not self.tumbling:
            kind = f"hopping {format_duration(self.size)} every {format_duration(self.advance)}"
        return f"{kind}, grace {format_duration(self.grace)}"


@dataclass(frozen=True)
class Emit:
    """When results of windows are sent."""

    on_close: bool = False
    """Once a window, when it closes; else with each record that changes it."""
    drop_expired: bool = False
    """On close, leave out windows that the very record that closed them also expired, as Kafka Streams does."""


def tumbling(size: Duration, *, grace: Duration = 0) -> TimeWindows:
    """Windows of equal size, one after the other. Records may be late by `grace`."""
    length = parse_duration(size, "the size of tumbling windows", at_least=1)
    return TimeWindows(length, length, parse_duration(grace, "grace"))


def hopping(size: Duration, *, every: Duration, grace: Duration = 0) -> TimeWindows:
    """Windows of equal size that begin `every` so often, so that they overlap. Records may be late by `grace`."""
    length = parse_duration(size, "the size of hopping windows", at_least=1)
    advance = parse_duration(every, "every", at_least=1)
    if advance > length:
        raise TopologyError(
            f"hopping windows of {format_duration(length)} every {format_duration(advance)} leave gaps between them: "
            "every must not be longer than the size"
        )
    return TimeWindows(length, advance, parse_duration(grace, "grace"))
