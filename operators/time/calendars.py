"""Windows as a calendar has them: hours, days, weeks, months, quarters, years of a time zone.

Pure: the time zone database is data. A window starts at a local time that people call the beginning of it, and ends
where the next one starts, so a day has 23 or 25 hours when clocks are changed. Where a change of clocks left that time
out the window starts with the change; where it came twice, the first time. Hours are those of the clock on the wall:
where clocks are put back by an hour, one lasts two.
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
    """Windows one after the other, as a calendar has them."""

    unit: str
    zone: str
    grace: int

    tumbling = True
    first_start = -(1 << 61)
    """No window starts before this: the first may begin before 1970."""

    @property
    def longest(self) -> int:
        """How long such a window is at most, where clocks are put back included."""
        return DAYS[self.unit] * 86_400_000 + CLOCKS_BACK

    def interval(self, timestamp: int) -> tuple[int, int]:
        """Start and end of the window that holds the timestamp. ValueError for times after the year 9990."""
        start, end = _interval(self.unit, self.zone, timestamp - timestamp % QUARTER)
        while timestamp >= end:
            start, end = _interval(self.unit, self.zone, end)
        return start, end

    def end(self, start: int) -> int:
        """The end of the window that starts then."""
        return self.interval(start)[1]

    def close(self, end: int) -> int:
        """The stream time from which a window that ends then is closed."""
        return end + self.grace

    def closed_before(self, stream_time: int) -> int:
        """All windows that start before this are closed, the others open."""
        return self._at(stream_time - self.grace)[0]

    def expired_before(self, stream_time: int, *, on_close: bool) -> int:
        """The entries of windows that start before this can be forgotten: a younger window began when they were closed.

        Where results are sent on close, a window that closes just when the youngest begins is kept.
        """
        return self.closed_before(self.newest_start(stream_time) - on_close)

    def next_close(self, stream_time: int) -> int:
        """The next stream time at which a window closes."""
        return self._at(stream_time - self.grace)[1] + self.grace

    def newest_start(self, stream_time: int) -> int:
        """The start of the newest window that began by the stream time."""
        return self._at(stream_time)[0]

    def next_start(self, stream_time: int) -> int:
        """The next stream time at which a window begins."""
        return self._at(stream_time)[1]

    def _at(self, stream_time: int) -> tuple[int, int]:
        """The window of a stream time, which other records may have taken beyond the last one."""
        return self.interval(min(stream_time, LAST))

    def __str__(self) -> str:
        return f"each {self.unit} in {self.zone}, grace {format_duration(self.grace)}"


def calendar(unit: CalendarUnit, *, tz: str = "UTC", grace: Duration = 0) -> CalendarWindows:
    """Windows of a calendar's hours, days, weeks (from Monday), months, quarters or years in a time zone.

    `tz` is a name such as "America/New_York". Windows start at local midnight, also where clocks are changed: such a
    day has 23 or 25 hours. Records may be late by `grace`.
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
            f"tm.calendar(tz=): {name!r} is no time zone that is known here; write a name such as 'Europe/Berlin' or "
            "'UTC'"
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
    """When clocks first show this time or a later one."""
    first, second = ((local.replace(tzinfo=tz, fold=fold) - EPOCH) // MS for fold in (0, 1))
    if first <= second:
        return first
    before, after = second, first  # left out: the offsets before and after the change put it after and before that
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
