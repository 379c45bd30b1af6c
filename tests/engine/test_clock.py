"""Tests of clocks: the system clock, and the manual clock for tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.engine.clock import SYSTEM, ManualClock, SystemClock, system_clock


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


def test_a_test_can_set_the_clock_of_one_process(tmp_path: Path) -> None:
    assert type(system_clock(None)) is SystemClock
    skew = tmp_path / "skew"
    skew.write_text("3600")
    clock = system_clock(str(skew))
    monotonic = clock.monotonic()
    assert abs(clock.now() - SystemClock().now() - 3_600_000) < 1_000
    skew.write_text("-40")
    assert abs(clock.now() - SystemClock().now() + 40_000) < 1_000
    assert 0 <= clock.monotonic() - monotonic < 1_000
