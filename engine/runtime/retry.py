"""How long failures that may pass are put up with, and how far apart attempts are."""

from __future__ import annotations

import logging

from ..clock import Clock
from ..errors import TidemillError

__all__ = ["Patience"]

LOG = logging.getLogger("tidemill.loop")
PAUSE_MS = 100
LONGEST_MS = 800
"""A pause is twice as long as the one before, up to this."""


class Patience:
    """Bears failures one after the other until they have lasted for too long."""

    def __init__(self, clock: Clock, limit: int, apart: int | None = None) -> None:
        """`limit` in ms. Failures that are further `apart` than so many ms are not one trouble, even with no success
        between them."""
        self._clock = clock
        self._limit = limit
        self._apart = apart
        self._since: int | None = None
        self._last = 0
        self._pause = PAUSE_MS

    def succeeded(self) -> None:
        """All is well again."""
        self._since = None
        self._pause = PAUSE_MS

    def failed(self, failure: TidemillError) -> None:
        """Waits a little, or raises the failure when there was no success for too long."""
        now = self._clock.monotonic()
        if self._apart is not None and now - self._last > self._apart:
            self.succeeded()
        if self._since is None:
            self._since = now
            LOG.warning("%s; trying again for up to %d s", failure, self._limit // 1000)
        if now - self._since > self._limit:
            raise failure
        self._clock.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_MS)
        self._last = self._clock.monotonic()
