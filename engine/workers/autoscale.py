"""The decision how many workers an application should have.

Pure, on what was observed since the last change. Workers are added soon after the load requires it, and removed only
after a long quiet period. There is a gap between the two conditions: a worker is added when the present workers would
be busy for more than `load.TARGET` of their time, and removed only if the remaining ones would be busy for less than
`REMAINING_BUSY`. A constant load therefore has a constant number of workers. The idea of computing a recommendation
continuously and acting on the highest one of a window is that of Kubernetes' autoscaler
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#stabilization-window).

    observed:   too much work for 10 s    -> more, at most twice as many
                little work for `quiet`   -> fewer, as many as the highest need of that time requires
                otherwise                 -> unchanged

A change of the number is itself a disturbance: tasks that move are not processed meanwhile, and the workers then run at
their limit until they have caught up. That is no reason for a further change. For `CATCHING_UP_MS` after all workers
have started, workers are added only if the backlog does not shrink fast enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..config.worker_bounds import WorkerBounds
from ..serve.load import CATCH_UP_SECONDS, TARGET, WINDOW_MS

__all__ = ["CATCHING_UP_MS", "WorkerLoad", "decide", "limits"]

REMAINING_BUSY: Final = 0.6
"""How busy the remaining workers may be after others are removed."""
SETTLING_MS: Final = 20_000
"""How long after a change observations are ignored, because tasks move and are restored."""
SUSTAINED_MS: Final = 10_000
"""How long there must have been too much work before workers are added."""
CATCHING_UP_MS: Final = round(CATCH_UP_SECONDS * 1000) + WINDOW_MS
"""How long the work on a backlog may show in the load."""


@dataclass(frozen=True)
class WorkerLoad:
    """The load of all workers together at one moment."""

    at: int
    """ms by some clock."""
    needed: float
    """How many workers the work requires: the sum of `load.Load.needed`."""
    hottest: float
    """The highest need of one worker; above 1 that worker does not keep up."""
    lag: float
    """Records that wait in all partitions."""


def limits(bounds: WorkerBounds, tasks: int | None, processors: int) -> WorkerBounds:
    """Return `bounds` without useless workers.

    There is at most one per task, and beyond `least` one per processor. `tasks` is None while the number is not known.
    """
    useful = bounds.most if tasks is None else max(1, tasks)
    least = min(bounds.least, useful)
    return WorkerBounds(least, max(least, min(bounds.most, useful, processors)))


def decide(
    history: Sequence[WorkerLoad], now: int, workers: int, changed: int, within: WorkerBounds, quiet: int
) -> int:
    """Return how many workers there should be from now on.

    `history`, oldest first, begins after the last moment at which some worker was not running, and covers at least
    `quiet` and `CATCHING_UP_MS` if all have run for so long. `changed` is when the number last changed. `quiet` is for
    how many ms there must be little work before the number falls.
    """
    if not within.least <= workers <= within.most:
        return min(max(workers, within.least), within.most)
    seen = [it for it in history if it.at >= changed + SETTLING_MS]
    if not seen:
        return workers
    if now - seen[0].at >= SUSTAINED_MS and not catching_up(history, now):
        wanted = rounded_up(min(it.needed for it in seen if now - it.at <= SUSTAINED_MS))
        if wanted > workers:
            return min(wanted, 2 * workers, within.most)
    if now - seen[0].at >= quiet:
        last = [it for it in seen if now - it.at <= quiet]
        wanted = rounded_up(max(it.needed for it in last) * TARGET / REMAINING_BUSY)
        if wanted < workers and all(it.hottest <= 1 for it in last):
            return max(wanted, within.least)
    return workers


def rounded_up(needed: float) -> int:
    """Return the whole number of workers for a need, ignoring rounding errors of its terms."""
    return math.ceil(round(needed, 6))


def catching_up(history: Sequence[WorkerLoad], now: int) -> bool:
    """Return whether a backlog of the last start may remain and shrinks fast enough.

    It does if what is left would be gone within `CATCH_UP_SECONDS` at the average pace since the start. Shrinking lag
    is trusted for `CATCHING_UP_MS` only: see `load.workers_needed`.
    """
    first, last = history[0], history[-1]
    if now - first.at >= CATCHING_UP_MS:
        return False
    return last.lag * (last.at - first.at) <= (first.lag - last.lag) * CATCH_UP_SECONDS * 1000
