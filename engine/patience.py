"""How long failures that may mend themselves are put up with."""

from __future__ import annotations

import logging

from .clock import Clock
from .errors import Retryable

__all__ = ["Patience"]

LOG = logging.getLogger("tidemill.loop")
PAUSE_MS = 100


class Patience:
    """Bears failures one after the other until they have lasted for too long."""

    def __init__(self, clock: Clock, limit: int) -> None:
        """`limit` in ms."""
        self._clock = clock
        self._limit = limit
        self._since: int | None = None

    def succeeded(self) -> None:
        """All is well again."""
        self._since = None

    def failed(self, failure: Retryable) -> None:
        """Waits a little, or raises the failure when there was no success for too long."""
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
            LOG.warning("%s; trying again for up to %d s", failure, self._limit // 1000)
        if now - self._since > self._limit:
            raise failure
        self._clock.sleep(PAUSE_MS)
