"""How much work there is for a process, in processes: the figure on which the number of workers is decided.

Pure: from a few samples of counters to a need. Needs add up: the sum over all processes of an application is the number
of processes its load asks for, on one machine as in a cluster, without anybody knowing everybody.

A process that is busy for a share `b` of its time and handles `r` records a second can handle `r / b` when it does
nothing else. What comes in is `r` and what the lag grows by; what waits should be worked off in `CATCH_UP_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["CATCH_UP_SECONDS", "TARGET", "Load", "Sample", "load_of"]

TARGET: Final = 0.8
"""How busy a process is meant to be at most: the rest is for peaks and for taking over from others."""
CATCH_UP_SECONDS: Final = 60.0
WINDOW_MS: Final = 15_000
"""Older samples do not count."""
SHORTEST_MS: Final = 5_000
"""What a shorter time shows is chance."""
LEAST_BUSY: Final = 0.01
"""Below this the share says nothing about what a record costs."""


@dataclass(frozen=True)
class Sample:
    """Counters of a process at one moment, and its lag."""

    at: int
    """ms by some clock."""
    records: int
    """Records processed since the start."""
    lag: int
    """Records that wait in all its partitions."""
    processing: float
    """Seconds spent in steps since the start."""
    polling: float
    """Seconds spent waiting for records and taking them, since the start."""


@dataclass(frozen=True)
class Load:
    """How loaded a process is."""

    busy: float
    """Share of its time that it spends in steps, 0 to 1. What it spends in commits counts on neither side."""
    rate: float
    """Records processed a second."""
    growth: float
    """By how many records a second the lag grows; negative when it shrinks."""
    lag: int
    needed: float
    """How many processes this work asks for."""


def load_of(samples: Sequence[Sample]) -> Load | None:
    """The load that samples, oldest first, show; None while they cover too short a time."""
    recent = [sample for sample in samples if samples[-1].at - sample.at <= WINDOW_MS]
    if not recent or recent[-1].at - recent[0].at < SHORTEST_MS:
        return None
    first, last = recent[0], recent[-1]
    seconds = (last.at - first.at) / 1000
    processing, polling = last.processing - first.processing, last.polling - first.polling
    busy = processing / (processing + polling) if processing + polling > 0 else 0.0
    rate = (last.records - first.records) / seconds
    growth = slope([sample.at / 1000 for sample in recent], [float(sample.lag) for sample in recent])
    return Load(busy, rate, growth, last.lag, needed(busy, rate, growth, last.lag))


def needed(busy: float, rate: float, growth: float, lag: int) -> float:
    """How many processes, each busy for `TARGET` of its time, the work of one process asks for.

    Never less than it takes to go on as it does: lag that shrinks is no reason to want less, since the end of a
    partition is known late when there is too much to fetch it.
    """
    if rate <= 0:
        # It waits, restores, or is stuck in a call: that says nothing about what more processes would change.
        return max(busy, 1.0 if lag > 0 else 0.0)
    cost = max(busy, LEAST_BUSY) / rate  # seconds a record
    return (rate + max(growth, 0.0) + lag / CATCH_UP_SECONDS) * cost / TARGET


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """The slope of the straight line nearest to some points (least squares)."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
