"""The only wall clock.

Everything else gets `now` as an argument: int milliseconds since the epoch for people and records, monotonic
milliseconds for measuring and deadlines. A test gives a `ManualClock` in its place.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, Protocol

__all__ = ["SYSTEM", "VARIABLE", "Clock", "ManualClock", "SkewedClock", "SystemClock", "system_clock"]

VARIABLE: Final = "TIDEMILL_TEST_CLOCK"
"""A test that sets the clock of one process names a file here, with the seconds that its wall clock is ahead."""


class Clock(Protocol):
    def now(self) -> int:
        """Milliseconds since the epoch. May jump when somebody sets the machine's clock."""
        ...

    def monotonic(self) -> int:
        """Milliseconds since some moment; never goes back. Deadlines and intervals use this one."""
        ...

    def sleep(self, ms: int) -> None:
        """Waits."""
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
    """The machine's clock, ahead by what a file says at the moment."""

    def __init__(self, skew: Path) -> None:
        self._skew = skew

    def now(self) -> int:
        return super().now() + int(float(self._skew.read_text()) * 1000)


def system_clock(skew: str | None) -> SystemClock:
    """The clock of this process, by the value of the variable."""
    return SkewedClock(Path(skew)) if skew else SystemClock()


class ManualClock:
    """A clock that moves when told to, and by its own `sleep`."""

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
        """Time passes."""
        if ms < 0:
            raise ValueError("time does not go back; use jump() to set the wall clock")
        self._now += ms
        self._monotonic += ms

    def jump(self, now: int) -> None:
        """Somebody sets the wall clock; the monotonic clock does not notice."""
        self._now = now


SYSTEM: Clock = system_clock(os.environ.get(VARIABLE))
