"""Takes the state directory over from a process that is just stopping.

A supervisor that was killed leaves workers behind which stop by themselves, and a service that is restarted in place
may start before its former process has committed and left. Such a process has said in the lock file that it stops, so
it is waited for; any other holder of the lock is refused at once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from ...operators.time.durations import format_duration
from ...state.store import InUse
from ..clock import Clock
from ..errors import StateUnusable
from ..topics.startup import Stopped

__all__ = ["claimed"]

LOG: Final = logging.getLogger("tidemill")
MARGIN_MS: Final = 2_000
"""A process that stops too slowly ends itself after its `stop_timeout`; so much later it is surely gone."""
LOOK_MS: Final = 100
T = TypeVar("T")


def claimed(claim: Callable[[], T], stop_timeout: int, clock: Clock, stopping: Callable[[], bool]) -> T:
    """What `claim` gives, which opens the state directory.

    Waits for a holder that is stopping, for at most `stop_timeout` ms and a little. Raises StateUnusable when the
    directory cannot be had, and Stopped when this process is asked to stop meanwhile.
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
            raise Stopped
        clock.sleep(LOOK_MS)
