"""Keeps uploads within so many bytes a second, over all threads."""

from __future__ import annotations

import threading
from collections.abc import Callable

from .storage import Stopped

__all__ = ["Bandwidth"]

BURST_SECONDS = 0.25
"""What may pass at once after a pause."""


class Bandwidth:
    """A token bucket that may go below zero.

    A piece waits for those before it, never for itself.
    """

    def __init__(self, per_second: int | None, monotonic: Callable[[], float]) -> None:
        """`per_second` in bytes, None for no limit; `monotonic` is a clock in seconds."""
        self._rate = per_second
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._free_at = monotonic()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Whatever waits or comes is refused from now on. May be called in any thread."""
        self._stopped.set()

    def take(self, size: int) -> None:
        """Wait until so many bytes may pass. Raises Stopped."""
        pause = self._pause(size)
        if self._stopped.wait(pause) if pause > 0 else self._stopped.is_set():
            raise Stopped

    def _pause(self, size: int) -> float:
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._monotonic()
            begin = max(self._free_at, now - BURST_SECONDS)
            self._free_at = begin + size / self._rate
            return begin - now
