"""How many workers there should be: a pure decision on what was observed since the last change.

More at once when the work asks for it, fewer only after a long quiet time, and with a gap between the two: a worker is
added when those there are would be busy for more than `load.TARGET` of their time, and taken away only if those that
stay would be busy for less than `ROOMY`. So a constant load has a constant number of workers. The idea of recommending
all the time and acting on the highest of a window is that of Kubernetes' autoscaler
(https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#stabilization-window).

    observed:   too much for 10 s  -> more, at most twice as many
                little for `quiet` -> fewer, as many as the highest need of that time asks for
                otherwise          -> as many as there are
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..config.worker_bounds import Bounds
from ..serve.load import TARGET

__all__ = ["Observed", "decide", "limits"]

ROOMY: Final = 0.6
"""How busy the workers that stay may be when others go."""
SETTLING_MS: Final = 20_000
"""After a change tasks move and are restored: what is seen then is not looked at."""
SURE_MS: Final = 10_000
"""For how long there must have been too much work."""


@dataclass(frozen=True)
class Observed:
    """What the workers together looked like at one moment."""

    at: int
    """ms by some clock."""
    needed: float
    """How many workers the work asks for: the sum of `load.Load.needed`."""
    hottest: float
    """The most that one worker's work asks for; above 1 that worker does not keep up."""


def limits(bounds: Bounds, tasks: int | None, processors: int) -> Bounds:
    """The bounds within what is of use: no more workers than tasks, and none beyond `least` than processors.

    `tasks` is None while it is not known.
    """
    useful = bounds.most if tasks is None else max(1, tasks)
    least = min(bounds.least, useful)
    return Bounds(least, max(least, min(bounds.most, useful, processors)))


def decide(history: Sequence[Observed], now: int, workers: int, changed: int, within: Bounds, quiet: int) -> int:
    """How many workers there should be from now on.

    `history`, oldest first, reaches back to the last moment at which not all workers were at work, no further;
    `changed` is when their number last changed; `quiet` for how many ms there must be little to do before it falls.
    """
    if not within.least <= workers <= within.most:
        return min(max(workers, within.least), within.most)
    seen = [it for it in history if it.at >= changed + SETTLING_MS]
    if not seen:
        return workers
    if now - seen[0].at >= SURE_MS:
        wanted = math.ceil(min(it.needed for it in seen if now - it.at <= SURE_MS))
        if wanted > workers:
            return min(wanted, 2 * workers, within.most)
    if now - seen[0].at >= quiet:
        last = [it for it in seen if now - it.at <= quiet]
        wanted = math.ceil(max(it.needed for it in last) * TARGET / ROOMY)
        if wanted < workers and all(it.hottest <= 1 for it in last):
            return max(wanted, within.least)
    return workers
