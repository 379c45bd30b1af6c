"""The arithmetic of windows: which contain a time, when they close, when they expire.

Pure: integers in, integers out; milliseconds of event time. A window is *closed* from the stream time of its end plus
the grace: from then on it accepts no records, and is emitted if results are sent on close. Its entry is *expired* when
a lookup in Kafka Streams would no longer find it either.

    tumbling, hopping   [start, start + size)    starts at multiples of the advance, never before 0
    calendar            [start, end)             a day, a month ... of a time zone: `calendars.py`
    sliding             [start, start + size]    ends at a record, or begins just after one: `windows/sliding.py`
    session             [first, last]            records no further apart than the gap: `windows/sessions.py`
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..errors import TopologyError
from .calendars import CalendarWindows
from .durations import Duration, format_duration, parse_duration
from .every import Every

__all__ = [
    "Emit",
    "FixedWindows",
    "SessionWindows",
    "SlidingWindows",
    "TimeWindows",
    "Windows",
    "emitting",
    "emitting_rows",
    "hopping",
    "length_of",
    "results_behind",
    "session",
    "sliding",
    "tumbling",
]


@dataclass(frozen=True)
class TimeWindows:
    """Windows of one size that begin at every multiple of the advance.

    `tm.tumbling` and `tm.hopping` make them.

    Example:
        >>> print(tm.hopping("10m", every="1m"))
        hopping 10m every 1m, grace 0s
    """

    size: int
    advance: int
    grace: int

    first_start = 0
    """No window starts before this."""

    @property
    def span(self) -> int:
        """The time from the start of a window to its close."""
        return self.size + self.grace

    @property
    def tumbling(self) -> bool:
        """True if each time is in exactly one window."""
        return self.size == self.advance

    def end(self, start: int) -> int:
        """Return the end of the window that starts at `start`."""
        return start + self.size

    def close(self, end: int) -> int:
        """Return the stream time from which a window that ends at `end` is closed."""
        return end + self.grace

    def starts(self, timestamp: int) -> range:
        """Return the starts of all windows that contain the timestamp, oldest first."""
        newest = timestamp - timestamp % self.advance
        oldest = newest - (self.size - 1 - timestamp % self.advance) // self.advance * self.advance
        return range(max(oldest, 0), newest + 1, self.advance)

    def closed_before(self, stream_time: int) -> int:
        """Return the time such that windows that start before it are closed, and others are open."""
        return max(stream_time - self.span + 1, 0)

    def expired_before(self, stream_time: int, *, on_close: bool) -> int:
        """Return the time such that the entries of windows that start before it can be deleted.

        They can be when a window has begun since they were closed. If results are sent on close, a window that closes
        exactly when the newest one begins is kept.
        """
        return max(self.newest_start(stream_time) - self.span + (not on_close), 0)

    def next_close(self, stream_time: int) -> int:
        """Return the next stream time at which a window closes."""
        return (max(stream_time - self.span, -self.advance) // self.advance + 1) * self.advance + self.span

    def newest_start(self, stream_time: int) -> int:
        """Return the start of the newest window that has begun; below 0 before the first record."""
        return stream_time - stream_time % self.advance

    def next_start(self, stream_time: int) -> int:
        """Return the next stream time at which a window begins."""
        return self.newest_start(stream_time) + self.advance

    def __str__(self) -> str:
        kind = f"tumbling {format_duration(self.size)}"
        if not self.tumbling:
            kind = f"hopping {format_duration(self.size)} every {format_duration(self.advance)}"
        return f"{kind}, grace {format_duration(self.grace)}"


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of one size that end at a record, or begin just after one.

    `tm.sliding` makes them.

    Example:
        >>> print(tm.sliding("5m", grace="10s"))
        sliding 5m, grace 10s
    """

    size: int
    grace: int

    @property
    def span(self) -> int:
        """The time from a window's start to its end plus the grace; then it is closed."""
        return self.size + self.grace

    @property
    def kept(self) -> int:
        """The time from a window's start until it expires; other windows are made from it."""
        return 2 * self.size + self.grace

    def end(self, start: int) -> int:
        """Return the end of the window that starts at `start`; the end is part of the window."""
        return start + self.size

    def close(self, end: int) -> int:
        """Return the stream time from which a window that ends at `end` is closed."""
        return end + self.grace + 1

    def __str__(self) -> str:
        return f"sliding {format_duration(self.size)}, grace {format_duration(self.grace)}"


@dataclass(frozen=True)
class SessionWindows:
    """Windows of records that follow each other within a gap, made by `tm.session`.

    Example:
        >>> print(tm.session(gap="30m"))
        session with gap 30m, grace 0s
    """

    gap: int
    grace: int
    overwritten: bool = False
    """Whether a session stays open 1 ms longer than it can be joined, as in Kafka Streams.

    A record that arrives in that millisecond starts another session; if that has the same start and end, it replaces
    the first one, whose records are lost.
    """

    @property
    def span(self) -> int:
        """The stream time since the end of a session up to which it is open."""
        return self.gap + self.grace

    @property
    def found(self) -> int:
        """The stream time since the end of a session up to which a record can join it."""
        return self.span - self.overwritten

    def close(self, end: int) -> int:
        """Return the stream time from which a session that ends at `end` is final."""
        return end + self.found + 1

    def __str__(self) -> str:
        return f"session with gap {format_duration(self.gap)}, grace {format_duration(self.grace)}"


FixedWindows: TypeAlias = TimeWindows | CalendarWindows
"""Windows whose starts and ends do not depend on records."""

Windows: TypeAlias = TimeWindows | CalendarWindows | SlidingWindows | SessionWindows


@dataclass(frozen=True)
class Emit:
    """When window results are sent."""

    on_close: bool = False
    """Once per window, when it closes; otherwise with each record that changes it."""
    drop_expired: bool = False
    """On close, skip windows that the record that closed them expired, as Kafka Streams does."""
    every: int | None = None
    """At most once per window in this interval of wall-clock time, in ms."""
    on_commit: bool = False
    """Of the changes between two commits, the last one per key and window, with the commit."""

    @property
    def on_update(self) -> bool:
        """True if the operator sends each change at once; with `on_commit`, to its record cache."""
        return not self.on_close and self.every is None


def length_of(windows: Windows) -> int:
    """Return the maximum time from a record of a window to the window's end."""
    if isinstance(windows, SessionWindows):
        return 0  # a session has the time of its newest record, which is its end
    return windows.longest if isinstance(windows, CalendarWindows) else windows.size


def results_behind(windows: Windows, emit: Emit) -> int:
    """Return how much older than the step's time a result may be.

    A result has the time of the newest record of its window.
    """
    if isinstance(windows, SessionWindows):
        return windows.span + 1 if emit.on_close else windows.gap  # a session that grew is withdrawn as of its end
    return length_of(windows) + windows.grace + 1 if emit.on_close else 0


def emitting(when: object, expired: str = "emit") -> Emit:
    """Return the `Emit` of the arguments of `.emit()`; raise TopologyError if they are invalid."""
    if not isinstance(when, Every) and when not in ("update", "commit", "close"):
        raise TopologyError(f".emit() takes 'update', 'commit', 'close' or tm.every('5s'), not {when!r}")
    if expired not in ("emit", "drop"):
        raise TopologyError(f".emit(expired=) takes 'emit' or 'drop', not {expired!r}")
    every = when.interval if isinstance(when, Every) else None
    return Emit(when == "close", expired == "drop", every, when == "commit")


def emitting_rows(when: object) -> bool:
    """Return whether the results of an aggregate without windows are sent on commit.

    `when` is the argument of `.emit()`. Raises TopologyError if it is invalid.
    """
    if when == "close" or isinstance(when, Every):
        raise TopologyError(f".emit({when!r}) is for windows: without them results are sent on 'update' or 'commit'")
    if when not in ("update", "commit"):
        raise TopologyError(f".emit() takes 'update' or 'commit', not {when!r}")
    return when == "commit"


def tumbling(size: Duration, *, grace: Duration = 0) -> TimeWindows:
    """Make consecutive windows of equal size.

    Args:
        size: The size, such as "1m" or an int of milliseconds. The end is exclusive.
        grace: How late records may arrive after the end of a window.

    Raises:
        TopologyError: The size is not a positive duration.

    Example:
        >>> per_minute = orders.group_by_key().window(tm.tumbling("1m", grace="10s")).count()
    """
    length = parse_duration(size, "the size of tumbling windows", at_least=1)
    return TimeWindows(length, length, parse_duration(grace, "grace"))


def hopping(size: Duration, *, every: Duration, grace: Duration = 0) -> TimeWindows:
    """Make overlapping windows of equal size that begin at regular intervals.

    Args:
        size: The size, such as "10m". The end is exclusive.
        every: The interval between the starts of two windows, at most the size.
        grace: How late records may arrive after the end of a window.

    Raises:
        TopologyError: `every` is longer than the size.

    Example:
        >>> moving = orders.group_by_key().window(tm.hopping("10m", every="1m")).count()
    """
    length = parse_duration(size, "the size of hopping windows", at_least=1)
    advance = parse_duration(every, "every", at_least=1)
    if advance > length:
        raise TopologyError(
            f"hopping windows of {format_duration(length)} every {format_duration(advance)} leave gaps between them: "
            "every must not be longer than the size"
        )
    return TimeWindows(length, advance, parse_duration(grace, "grace"))


def sliding(size: Duration, *, grace: Duration = 0) -> SlidingWindows:
    """Make a window for each set of records that are at most `size` apart.

    As in Kafka Streams, one window ends at each record, and one begins just after it if more records follow. No window
    begins before 0.

    Args:
        size: The maximum distance in event time. Both start and end are part of a window.
        grace: How late records may arrive after the end of a window.

    Raises:
        TopologyError: The size is not a positive duration.

    Example:
        >>> recent = orders.group_by_key().window(tm.sliding("5m")).count()
    """
    return SlidingWindows(
        parse_duration(size, "the size of sliding windows", at_least=1), parse_duration(grace, "grace")
    )


def session(*, gap: Duration, grace: Duration = 0) -> SessionWindows:
    """Make windows of records that follow each other within a gap.

    A session starts at its first record and ends at its last. A record between two sessions merges them.

    Args:
        gap: The maximum time between two consecutive records of a session.
        grace: How late records may arrive after the end of a session.

    Raises:
        TopologyError: The gap is not a positive duration.

    Example:
        >>> visits = orders.group_by_key().window(tm.session(gap="30m")).count()
    """
    return SessionWindows(parse_duration(gap, "the gap of sessions", at_least=1), parse_duration(grace, "grace"))
