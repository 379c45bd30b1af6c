"""The only wall clock.

All other code gets `now` as an argument: int milliseconds since the epoch for records and messages, monotonic
milliseconds for intervals and deadlines. Tests use a `ManualClock` instead.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, Protocol

__all__ = ["SYSTEM", "VARIABLE", "Clock", "ManualClock", "SkewedClock", "SystemClock", "system_clock"]

VARIABLE: Final = "TIDEMILL_TEST_CLOCK"
"""Names a file that contains how many seconds the wall clock of one process is ahead, for tests."""


class Clock(Protocol):
    def now(self) -> int:
        """Return milliseconds since the epoch. May jump if the machine's clock is set."""
        ...

    def monotonic(self) -> int:
        """Return milliseconds since some moment, never decreasing, for deadlines and intervals."""
        ...

    def sleep(self, ms: int) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def sleep(self, ms: int) -> None:
        time.sleep(ms / 1000)


class SkewedClock(SystemClock):
    """The machine's clock, ahead by the seconds that a file currently contains."""

    def __init__(self, skew: Path) -> None:
        self._skew = skew

    def now(self) -> int:
        return super().now() + int(float(self._skew.read_text()) * 1000)


def system_clock(skew: str | None) -> SystemClock:
    """Return the clock of this process, by the value of the variable."""
    return SkewedClock(Path(skew)) if skew else SystemClock()


class ManualClock:
    """A clock that is advanced explicitly, and by its own `sleep`."""

    def __init__(self, now: int = 0) -> None:
        self._now = now
        self._monotonic = 0

    def now(self) -> int:
        return self._now

    def monotonic(self) -> int:
        return self._monotonic

    def sleep(self, ms: int) -> None:
        self.advance(ms)

    def advance(self, ms: int) -> None:
        """Advance both clocks."""
        if ms < 0:
            raise ValueError("time does not go back; use jump() to set the wall clock")
        self._now += ms
        self._monotonic += ms

    def jump(self, now: int) -> None:
        """Set the wall clock; the monotonic clock does not change."""
        self._now = now


SYSTEM: Clock = system_clock(os.environ.get(VARIABLE))
