"""What an event time may be: whole milliseconds since 1970, up to the end of the year 9999.

The bound is one for all programs, so that no step has to ask whether what it computes from a time (the end of a window,
when a timer is due, until when a value lives) can still be stored.
"""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Final

__all__ = ["EPOCH", "LATEST", "check_times", "milliseconds"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)

LATEST: Final = 253_402_300_799_999
"""The last millisecond of the year 9999."""


def milliseconds(time: Any) -> int:
    """What a timestamp function gave, as event time; None is no time, which drops the record."""
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
        "1970 or a datetime with a time zone"
    )


def check_times(times: list[int]) -> None:
    """Raises ValueError when a time is beyond the year 9999."""
    if times and max(times) > LATEST:
        raise ValueError(
            f"the event time {max(times)} is beyond the year 9999: it is in milliseconds since 1970, so divide "
            "microseconds by 1,000 and nanoseconds by 1,000,000"
        )
