"""Waits for the state directory while the previous process is stopping.

A killed supervisor leaves workers behind, which stop by themselves, and a restarted service may start before its
previous process has committed and left. Such a process has recorded in the lock file that it is stopping, so this
process waits for it. Any other holder of the lock is an error at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from ...operators.time.durations import format_duration
from ...state.store import InUse
from ..clock import Clock
from ..errors import StateUnusable
from ..topics.startup import StopRequested

__all__ = ["claim_with_retry"]

LOG: Final = logging.getLogger("tidemill")
MARGIN_MS: Final = 2_000
"""Margin after `stop_timeout`, when a process that stops too slowly has ended itself."""
LOOK_MS: Final = 100
T = TypeVar("T")


def claim_with_retry(claim: Callable[[], T], stop_timeout: int, clock: Clock, stopping: Callable[[], bool]) -> T:
    """Return the result of `claim`, which opens the state directory.

    Waits for a holder that is stopping, for at most `stop_timeout` ms plus a margin. Raises StateUnusable if the
    directory stays unavailable, and StopRequested if this process is asked to stop meanwhile.
    """
    deadline = clock.monotonic() + stop_timeout + MARGIN_MS
    waiting = False
    while True:
        try:
            return claim()
        except StateUnusable as failure:
            holder = failure.__cause__
            if not isinstance(holder, InUse) or not holder.stopping or clock.monotonic() >= deadline:
                raise
            if not waiting:
                waiting = True
                LOG.info(
                    "the state directory is still in use by process %d, which is stopping; waiting for up to %s",
                    holder.pid,
                    format_duration(stop_timeout + MARGIN_MS),
                )
        if stopping():
            raise StopRequested
        clock.sleep(LOOK_MS)
