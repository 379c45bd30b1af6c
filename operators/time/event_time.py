"""Event times: whole milliseconds since 1970, up to the end of the year 9999.

The limit is the same for all programs, so that a time that a step computes from an event time (the end of a window, the
due time of a timer, the expiry of a value) can always be stored. Times in another unit, or ahead of the wall clock, are
caused by wrong clocks and producers; this module detects and describes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Generic, TypeAlias

from typing_extensions import TypeVar

from ..errors import TidemillError, TopologyError
from ..user_functions import is_coroutine_function
from .durations import format_duration, rough_duration

__all__ = [
    "EPOCH",
    "LATEST",
    "SECONDS",
    "AheadOfClock",
    "FromRecord",
    "TimeFunction",
    "check_ahead",
    "check_time_function",
    "check_times",
    "from_record",
    "in_seconds",
    "milliseconds",
]

R = TypeVar("R", default=Any)
R_contra = TypeVar("R_contra", contravariant=True, default=Any)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)

LATEST: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""

SECONDS: Final = range(100_000_000, 10_000_000_000)
"""Times from 1973 to 2286 if in seconds, from early 1970 if in milliseconds."""
NANOSECONDS_FROM: Final = 10**17


class FromRecord(Generic[R_contra]):
    """A timestamp function that gets the whole record, made by `tm.from_record`.

    Example:
        >>> tm.from_record(lambda record: record.timestamp).function(tm.Record("ann", {}, 5))
        5
    """

    def __init__(self, function: Callable[[R_contra], Any]) -> None:
        self.function: Callable[[Any], Any] = function


TimeFunction: TypeAlias = Callable[[Any], Any] | FromRecord[Any]
"""A function from a value, or from a record, to its event time."""


def from_record(function: Callable[[R], Any]) -> FromRecord[R]:
    """Make a timestamp function that gets the whole record instead of the value.

    Args:
        function: Gets a `tm.SourceRecord` in `timestamp=` of a source, a `tm.Record` in `.with_timestamp()`. Returns
            milliseconds since 1970 or an aware datetime; None drops the record.

    Example:
        >>> seen = app.stream("seen", value=tm.json, timestamp=tm.from_record(lambda record: record.timestamp))
    """
    return FromRecord(function)


def check_time_function(function: object, what: str) -> None:
    """Raise TopologyError unless `function` is a timestamp function."""
    called = function.function if isinstance(function, FromRecord) else function
    if not callable(called) or is_coroutine_function(called):
        raise TopologyError(
            f"{what} takes a plain function of the value, or tm.from_record(function) for one of the whole record, "
            f"not {function!r}"
        )


def milliseconds(time: Any) -> int:
    """Return a timestamp function's result as event time; -1 (dropped) for None."""
    if type(time) is int:
        return time
    if time is None:
        return -1
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError(f"the timestamp function gave {time!r}, which has no time zone")
        delta = time - EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000 + delta.microseconds // 1_000
    raise TypeError(
        f"the timestamp function gave {time!r}, a {type(time).__name__}: event time is an int of milliseconds since "
        f"1970 or a datetime with a time zone{'; of seconds, int(seconds * 1000)' if type(time) is float else ''}"
    )


def check_times(times: Sequence[int]) -> None:
    """Raise ValueError if a time is after the year 9999."""
    if times and (newest := max(times)) > LATEST:
        unit, by = ("nanoseconds", "1,000,000") if newest >= NANOSECONDS_FROM else ("microseconds", "1,000")
        raise ValueError(
            f"the event time {newest} is beyond the year 9999: it is in milliseconds since 1970, so divide {unit} by "
            f"{by}"
        )


class AheadOfClock(TidemillError):
    """An event time is further ahead of the wall clock than its source allows."""


def check_ahead(times: list[int], now: int, most: int) -> None:
    """Raise AheadOfClock if a time is more than `most` ms ahead of the wall clock."""
    if times and (newest := max(times)) - now > most:
        raise AheadOfClock(
            f"its event time, {readable(newest)}, is {rough_duration(newest - now)} ahead of the wall clock, which "
            f"says {readable(now)}, and max_ahead={format_duration(most)!r} allows less. Correct the clock that is "
            "wrong, or drop such records with .on_error(tm.skip) on the source"
        )


def in_seconds(time: int, whose: str) -> str | None:
    """Return a warning about a time that seems to be in seconds; None for others."""
    if time not in SECONDS:
        return None
    return (
        f"{whose} {time}, which is {readable(time)} in milliseconds, the unit of event time, and "
        f"{readable(time * 1_000)} in seconds. If it is seconds, multiply by 1,000"
    )


def readable(time: int) -> str:
    """Return a time for display."""
    return (EPOCH + timedelta(milliseconds=time)).strftime("%Y-%m-%dT%H:%M:%SZ")
