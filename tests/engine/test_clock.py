"""Clocks: the machine's goes forward, the manual one goes where it is told."""

from __future__ import annotations

import pytest

from tidemill.engine.clock import SYSTEM, ManualClock


def test_the_manual_clock() -> None:
    clock = ManualClock(now=1_000)
    clock.advance(5)
    clock.sleep(5)
    assert (clock.now(), clock.monotonic()) == (1_010, 10)
    clock.jump(0)
    assert (clock.now(), clock.monotonic()) == (0, 10)
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(-1)


def test_the_system_clock_counts_milliseconds() -> None:
    began, now = SYSTEM.monotonic(), SYSTEM.now()
    SYSTEM.sleep(3)
    assert SYSTEM.monotonic() - began >= 3
    assert SYSTEM.now() >= now
    assert now > 1_700_000_000_000
