"""Calendar windows: hours, days, weeks, months, quarters and years of a time zone.

Pure: the time zone database is data. A window starts at the local time at which its calendar unit begins, and ends
where the next one starts, so a day has 23 or 25 hours when clocks change. If a change of clocks skips that local time,
the window starts at the change; if the local time occurs twice, at its first occurrence. Hours are those of local time:
when clocks are put back by an hour, one window of an hour lasts two hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ..errors import TopologyError
from ..suggest import did_you_mean
from .durations import Duration, format_duration, parse_duration
from .event_time import EPOCH

__all__ = ["CalendarUnit", "CalendarWindows", "calendar"]

CalendarUnit: TypeAlias = Literal["hour", "day", "week", "month", "quarter", "year"]

UNITS: Final = ("hour", "day", "week", "month", "quarter", "year")
DAYS: Final = {"hour": 0, "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}
CLOCKS_BACK: Final = 7_200_000
QUARTER: Final = 900_000
MS: Final = timedelta(milliseconds=1)
LAST: Final = (datetime(9990, 1, 1, tzinfo=timezone.utc) - EPOCH) // MS


@dataclass(frozen=True)
class CalendarWindows:
    """Consecutive windows of a calendar unit, made by `tm.calendar`.

    Example:
        >>> print(tm.calendar("day", tz="Europe/Berlin"))
        each day in Europe/Berlin, grace 0s
    """

    unit: str
    zone: str
    grace: int

    tumbling = True
    first_start = -(1 << 61)
    """The lower limit of all starts: the first window may begin before 1970."""

    @property
    def longest(self) -> int:
        """The maximum length of a window, including a change of clocks."""
        return DAYS[self.unit] * 86_400_000 + CLOCKS_BACK

    def interval(self, timestamp: int) -> tuple[int, int]:
        """Return start and end of the window that contains a timestamp, in milliseconds since 1970.

        Args:
            timestamp: A time, in milliseconds since 1970.

        Raises:
            ValueError: The time is after the year 9990.

        Example:
            >>> start, end = tm.calendar("day", tz="America/New_York").interval(1_710_054_000_000)
            >>> (end - start) / 3_600_000  # hours: clocks are put forward on 10 March 2024
            23.0
        """
        start, end = _interval(self.unit, self.zone, timestamp - timestamp % QUARTER)
        while timestamp >= end:
            start, end = _interval(self.unit, self.zone, end)
        return start, end

    def end(self, start: int) -> int:
        """Return the end of the window that starts at `start`."""
        return self.interval(start)[1]

    def close(self, end: int) -> int:
        """Return the stream time from which a window that ends at `end` is closed."""
        return end + self.grace

    def closed_before(self, stream_time: int) -> int:
        """Return the time such that windows that start before it are closed, and others are open."""
        return self._at(stream_time - self.grace)[0]

    def expired_before(self, stream_time: int, *, on_close: bool) -> int:
        """Return the time such that the entries of windows that start before it can be deleted.

        They can be when a window has begun since they were closed. If results are sent on close, a window that closes
        exactly when the newest one begins is kept.
        """
        return self.closed_before(self.newest_start(stream_time) - on_close)

    def next_close(self, stream_time: int) -> int:
        """Return the next stream time at which a window closes."""
        return self._at(stream_time - self.grace)[1] + self.grace

    def newest_start(self, stream_time: int) -> int:
        """Return the start of the newest window that has begun at the stream time."""
        return self._at(stream_time)[0]

    def next_start(self, stream_time: int) -> int:
        """Return the next stream time at which a window begins."""
        return self._at(stream_time)[1]

    def _at(self, stream_time: int) -> tuple[int, int]:
        """Return the window of a stream time, which may be beyond the last window."""
        return self.interval(min(stream_time, LAST))

    def __str__(self) -> str:
        return f"each {self.unit} in {self.zone}, grace {format_duration(self.grace)}"


def calendar(unit: CalendarUnit, *, tz: str = "UTC", grace: Duration = 0) -> CalendarWindows:
    """Make windows of a calendar unit in a time zone, such as the days of Berlin.

    They begin at local midnight (hours: at the full hour), so a day has 23 or 25 hours when clocks change. Weeks begin
    on Monday. The time zone database is the machine's or that of the package `tzdata`.

    Args:
        unit: "hour", "day", "week", "month", "quarter" or "year".
        tz: The name of a time zone.
        grace: How late records may arrive after the end of a window.

    Raises:
        TopologyError: The unit or the time zone is unknown.

    Example:
        >>> daily = orders.group_by_key().window(tm.calendar("day", tz="Europe/Berlin")).count()
    """
    if unit not in UNITS:
        raise TopologyError(f"tm.calendar() takes one of {', '.join(UNITS)}, not {unit!r}{did_you_mean(unit, UNITS)}")
    _zone(tz)
    return CalendarWindows(unit, tz, parse_duration(grace, "grace"))


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise TopologyError(
            f"tm.calendar(tz=): {name!r} is not a known time zone; write a name such as 'Europe/Berlin' or 'UTC'"
        ) from error


@lru_cache(maxsize=4096)
def _interval(unit: str, zone: str, timestamp: int) -> tuple[int, int]:
    if timestamp > LAST:
        raise ValueError(f"the time {timestamp} is after the year 9990, for which there is no calendar")
    tz = _zone(zone)
    begin = _beginning(unit, (EPOCH + timestamp * MS).astimezone(tz).replace(tzinfo=None, fold=0))
    start = _instant(begin, tz)
    while True:
        begin = _following(unit, begin)
        end = _instant(begin, tz)
        if end > timestamp:
            return start, end
        start = end


def _instant(local: datetime, tz: ZoneInfo) -> int:
    """Return the first time at which clocks show this local time or a later one."""
    first, second = ((local.replace(tzinfo=tz, fold=fold) - EPOCH) // MS for fold in (0, 1))
    if first <= second:
        return first
    before, after = second, first  # skipped: the offsets before and after the change put it after and before that
    while after - before > 1:
        middle = (before + after) // 2
        if (EPOCH + middle * MS).astimezone(tz).replace(tzinfo=None) < local:
            before = middle
        else:
            after = middle
    return after


def _beginning(unit: str, local: datetime) -> datetime:
    if unit == "hour":
        return local.replace(minute=0, second=0, microsecond=0)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    match unit:
        case "day":
            return midnight
        case "week":
            return midnight - timedelta(days=midnight.weekday())
        case "month":
            return midnight.replace(day=1)
        case "quarter":
            return midnight.replace(month=(midnight.month - 1) // 3 * 3 + 1, day=1)
        case _:
            return midnight.replace(month=1, day=1)


def _following(unit: str, begin: datetime) -> datetime:
    match unit:
        case "hour":
            return begin + timedelta(hours=1)
        case "day":
            return begin + timedelta(days=1)
        case "week":
            return begin + timedelta(days=7)
        case _:
            months = begin.month - 1 + {"month": 1, "quarter": 3, "year": 12}[unit]
            return begin.replace(year=begin.year + months // 12, month=months % 12 + 1)
