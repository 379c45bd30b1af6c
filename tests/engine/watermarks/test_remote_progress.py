"""Tests of the limit for tasks that run ahead of those in other processes: no deadlock, whatever is received."""

from __future__ import annotations

import random

import pytest

from tidemill.engine.watermarks.remote_progress import AHEAD_MS, RemoteProgress


def test_the_slowest_elsewhere_sets_the_bound() -> None:
    elsewhere = RemoteProgress(10_000)
    assert elsewhere.until(1, 0, 0) is None
    elsewhere.note([(1, 0, 50), (1, 1, 70), (1, 2, -1), (2, 0, 5)], {(1, 0)}, 0)
    assert elsewhere.until(1, 30, 10_000) == 70 + AHEAD_MS  # the one that is here is known better, another not yet
    assert elsewhere.until(1, 5 * AHEAD_MS, 10_000) == 70 + 5 * AHEAD_MS
    assert elsewhere.until(2, 0, 10_000) == 5 + AHEAD_MS
    elsewhere.note([(1, 1, 70)], set(), 10_000)
    assert elsewhere.until(1, 30, 10_001) is None  # it has sent nothing new for too long
    elsewhere.note([(1, 1, 71)], set(), 10_001)
    assert elsewhere.until(1, 30, 20_001) == 71 + AHEAD_MS
    elsewhere.note([], set(), 10_002)
    assert elsewhere.until(1, 30, 10_002) is None


@pytest.mark.parametrize("seed", range(20))
def test_all_go_on(seed: int) -> None:
    """Each task receives watermarks late, and not all of them; no task waits longer than that takes."""
    draw = random.Random(seed)
    count = draw.randrange(2, 6)
    end = 40 * AHEAD_MS
    times, told = [0] * count, [0] * count
    processes = [RemoteProgress(10**9) for _ in range(count)]
    speeds = [draw.choice((1, 10, 100)) * AHEAD_MS // 50 for _ in range(count)]
    for turn in range(200_000):
        who = draw.randrange(count)
        if draw.random() < 0.3:
            told[who] = times[who]
        if draw.random() < 0.3:
            processes[who].note([(1, n, time) for n, time in enumerate(told) if time < end], {(1, who)}, turn)
        bound = processes[who].until(1, 0, turn)
        if bound is None or times[who] <= bound:
            times[who] = min(end, times[who] + speeds[who])
            assert bound is None or times[who] <= min(told[:who] + told[who + 1 :]) + AHEAD_MS + speeds[who]
        if min(times) == end:
            return
    raise AssertionError(times)
