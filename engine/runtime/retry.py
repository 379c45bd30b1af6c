"""The deadline for retries of transient failures, and the pauses between attempts."""

from __future__ import annotations

import logging

from ..clock import Clock
from ..errors import TidemillError

__all__ = ["RetryDeadline"]

LOG = logging.getLogger("tidemill.loop")
PAUSE_MS = 100
LONGEST_MS = 800
"""The longest pause; each pause is twice as long as the previous one."""


class RetryDeadline:
    """Tolerates consecutive failures until they have lasted for too long."""

    def __init__(self, clock: Clock, limit: int, apart: int | None = None) -> None:
        """Create a deadline of `limit` ms for consecutive failures.

        Failures more than `apart` ms apart do not count as consecutive, even without a success between them.
        """
        self._clock = clock
        self._limit = limit
        self._apart = apart
        self._since: int | None = None
        self._last = 0
        self._pause = PAUSE_MS

    def succeeded(self) -> None:
        """Reset the deadline after a success."""
        self._since = None
        self._pause = PAUSE_MS

    def failed(self, failure: TidemillError) -> None:
        """Pause before the next attempt, or raise the failure if the deadline has passed."""
        now = self._clock.monotonic()
        if self._apart is not None and now - self._last > self._apart:
            self.succeeded()
        if self._since is None:
            self._since = now
            LOG.warning("%s; retrying for up to %d s", failure, self._limit // 1000)
        if now - self._since > self._limit:
            raise failure
        self._clock.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_MS)
        self._last = self._clock.monotonic()
