"""Arithmetic of windows: which windows a time falls into, when a window closes, what can be forgotten.

Pure: integers in, integers out; milliseconds of event time. A window is *closed* from a stream time on that its end and
the grace make: then it takes no more records, and is emitted if results are wanted on closing. Its entry is *expired*
once a look-up no longer finds it in Kafka Streams either.

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
    "hopping",
    "length_of",
    "results_behind",
    "session",
    "sliding",
    "tumbling",
]


@dataclass(frozen=True)
class TimeWindows:
    """Windows of one size that begin at every multiple of the advance."""

    size: int
    advance: int
    grace: int

    first_start = 0
    """No window starts before this."""

    @property
    def span(self) -> int:
        """From the start of a window to its close."""
        return self.size + self.grace

    @property
    def tumbling(self) -> bool:
        """True when each time is in exactly one window."""
        return self.size == self.advance

    def end(self, start: int) -> int:
        """The end of the window that starts then."""
        return start + self.size

    def close(self, end: int) -> int:
        """The stream time from which a window that ends then is closed."""
        return end + self.grace

    def starts(self, timestamp: int) -> range:
        """The starts of all windows that hold the timestamp, oldest first."""
        newest = timestamp - timestamp % self.advance
        oldest = newest - (self.size - 1 - timestamp % self.advance) // self.advance * self.advance
        return range(max(oldest, 0), newest + 1, self.advance)

    def closed_before(self, stream_time: int) -> int:
        """All windows that start before this are closed, the others open."""
        return max(stream_time - self.span + 1, 0)

    def expired_before(self, stream_time: int, *, on_close: bool) -> int:
        """The entries of windows that start before this can be forgotten: a younger window began when they were closed.

        Where results are sent on close, a window that closes just when the youngest begins is kept.
        """
        return max(self.newest_start(stream_time) - self.span + (not on_close), 0)

    def next_close(self, stream_time: int) -> int:
        """The next stream time at which a window closes."""
        return (max(stream_time - self.span, -self.advance) // self.advance + 1) * self.advance + self.span

    def newest_start(self, stream_time: int) -> int:
        """The start of the newest window that began by the stream time; below 0 before the first record."""
        return stream_time - stream_time % self.advance

    def next_start(self, stream_time: int) -> int:
        """The next stream time at which a window begins."""
        return self.newest_start(stream_time) + self.advance

    def __str__(self) -> str:
        kind = f"tumbling {format_duration(self.size)}"
        if not self.tumbling:
            kind = f"hopping {format_duration(self.size)} every {format_duration(self.advance)}"
        return f"{kind}, grace {format_duration(self.grace)}"


@dataclass(frozen=True)
class SlidingWindows:
    """Windows of one size of which one ends at each record, and one begins just after each that others follow."""

    size: int
    grace: int

    @property
    def span(self) -> int:
        """From the start of a window to its end and grace: it is closed after that."""
        return self.size + self.grace

    @property
    def kept(self) -> int:
        """A window is expired when one begins that much later: until then others are made from it."""
        return 2 * self.size + self.grace

    def end(self, start: int) -> int:
        """The end of the window that starts then; it belongs to the window."""
        return start + self.size

    def close(self, end: int) -> int:
        """The stream time from which a window that ends then is closed."""
        return end + self.grace + 1

    def __str__(self) -> str:
        return f"sliding {format_duration(self.size)}, grace {format_duration(self.grace)}"


@dataclass(frozen=True)
class SessionWindows:
    """Windows of records that follow each other within a gap."""

    gap: int
    grace: int
    overwritten: bool = False
    """As in Kafka Streams: a session is open for a millisecond longer than it is found.

    A record that comes then begins another session, and if that has the same start and end it takes the first one's
    place, whose records are lost.
    """

    @property
    def span(self) -> int:
        """How far stream time may be beyond the end of a session that is open; beyond that it is closed."""
        return self.gap + self.grace

    @property
    def found(self) -> int:
        """How far stream time may be beyond the end of a session that a record can join."""
        return self.span - self.overwritten

    def close(self, end: int) -> int:
        """The stream time from which a session that ends then is not found any more, and so is final."""
        return end + self.found + 1

    def __str__(self) -> str:
        return f"session with gap {format_duration(self.gap)}, grace {format_duration(self.grace)}"


FixedWindows: TypeAlias = TimeWindows | CalendarWindows
"""Windows that begin and end at times that records do not decide."""

Windows: TypeAlias = TimeWindows | CalendarWindows | SlidingWindows | SessionWindows


@dataclass(frozen=True)
class Emit:
    """When results of windows are sent."""

    on_close: bool = False
    """Once a window, when it closes; else with each record that changes it."""
    drop_expired: bool = False
    """On close, leave out windows that the very record that closed them also expired, as Kafka Streams does."""
    every: int | None = None
    """At most once a window in so many ms of wall-clock time."""

    @property
    def on_update(self) -> bool:
        """True when each change is sent at once."""
        return not self.on_close and self.every is None


def length_of(windows: Windows) -> int:
    """From the oldest record that a window may have to its end."""
    if isinstance(windows, SessionWindows):
        return 0  # a session has the time of its newest record, which is its end
    return windows.longest if isinstance(windows, CalendarWindows) else windows.size


def results_behind(windows: Windows, emit: Emit) -> int:
    """How much older than the step's time a result may be: it has the time of the newest record of its window."""
    if isinstance(windows, SessionWindows):
        return windows.span + 1 if emit.on_close else windows.gap  # a session that grew is withdrawn as of its end
    return length_of(windows) + windows.grace + 1 if emit.on_close else 0


def emitting(when: object, expired: str = "emit") -> Emit:
    """From what people write to `.emit()`; TopologyError when it is nothing of the kind."""
    if not isinstance(when, Every) and when not in ("update", "close"):
        raise TopologyError(f".emit() takes 'update', 'close' or tm.every('5s'), not {when!r}")
    if expired not in ("emit", "drop"):
        raise TopologyError(f".emit(expired=) takes 'emit' or 'drop', not {expired!r}")
    return Emit(when == "close", expired == "drop", when.interval if isinstance(when, Every) else None)


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


def sliding(size: Duration, *, grace: Duration = 0) -> SlidingWindows:
    """A window for each set of records that are no further apart than `size`. Records may be late by `grace`.

    Start and end both belong to a window. There is one that ends at each record, and one that begins just after it
    where records follow; no window begins before 0.
    """
    return SlidingWindows(
        parse_duration(size, "the size of sliding windows", at_least=1), parse_duration(grace, "grace")
    )


def session(*, gap: Duration, grace: Duration = 0) -> SessionWindows:
    """Windows of records of which each follows another within `gap`. Records may be late by `grace`.

    A session starts at its first record and ends at its last. A record between two sessions makes one of them.
    """
    return SessionWindows(parse_duration(gap, "the gap of sessions", at_least=1), parse_duration(grace, "grace"))
