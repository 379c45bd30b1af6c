"""The work of a process, in processes: the figure that decides the number of workers.

Pure: from a few samples of counters to a need. Needs add up: the sum over all processes of an application is the number
of processes that its load requires, on one machine or in a cluster, without a central view of all of them.

A process that is busy for a fraction `b` of its time and processes `r` records per second can process `r / b` when it
does nothing else. The input rate is `r` plus the growth of the lag; the lag itself should be processed in
`CATCH_UP_SECONDS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["CATCH_UP_SECONDS", "TARGET", "WINDOW_MS", "Load", "LoadSample", "load_of"]

TARGET: Final = 0.8
"""The maximum fraction of its time that a process should be busy: the rest is for peaks and for taking over tasks."""
CATCH_UP_SECONDS: Final = 60.0
WINDOW_MS: Final = 15_000
"""Older samples are ignored."""
SHORTEST_MS: Final = 5_000
"""The minimum time between samples for a meaningful result."""
LEAST_BUSY: Final = 0.01
"""Below this, the fraction says nothing about the cost of a record."""


@dataclass(frozen=True)
class LoadSample:
    """Counters of a process at one moment, and its lag."""

    at: int
    """ms by some clock."""
    records: int
    """Records processed since the start."""
    lag: int
    """Unread records in all its partitions."""
    processing: float
    """Seconds spent in steps since the start."""
    polling: float
    """Seconds spent waiting for records and receiving them, since the start."""


@dataclass(frozen=True)
class Load:
    """The load of a process."""

    busy: float
    """Fraction of its time spent in steps, 0 to 1. Time spent in commits is not counted at all."""
    rate: float
    """Records processed per second."""
    growth: float
    """Growth of the lag in records per second; negative if it shrinks."""
    lag: int
    needed: float
    """The number of processes that this work requires."""


def load_of(samples: Sequence[LoadSample]) -> Load | None:
    """Return the load that samples, oldest first, show; None if they cover too short a time."""
    recent = [sample for sample in samples if samples[-1].at - sample.at <= WINDOW_MS]
    if not recent or recent[-1].at - recent[0].at < SHORTEST_MS:
        return None
    first, last = recent[0], recent[-1]
    seconds = (last.at - first.at) / 1000
    processing, polling = last.processing - first.processing, last.polling - first.polling
    busy = processing / (processing + polling) if processing + polling > 0 else 0.0
    rate = (last.records - first.records) / seconds
    growth = slope([sample.at / 1000 for sample in recent], [float(sample.lag) for sample in recent])
    return Load(busy, rate, growth, last.lag, workers_needed(busy, rate, growth, last.lag))


def workers_needed(busy: float, rate: float, growth: float, lag: int) -> float:
    """Return how many processes one process's work requires.

    Each is busy for `TARGET` of its time. At least as many as it uses now: a shrinking lag is no reason to need fewer,
    since the end of a partition is known late if there is too much to fetch.
    """
    if rate <= 0:
        # It waits, restores, or is stuck in a call: that says nothing about the effect of more processes.
        return max(busy, 1.0 if lag > 0 else 0.0)
    cost = max(busy, LEAST_BUSY) / rate  # seconds per record
    return (rate + max(growth, 0.0) + lag / CATCH_UP_SECONDS) * cost / TARGET


def slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Return the slope of the straight line closest to some points (least squares)."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread
