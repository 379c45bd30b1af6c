"""When a trouble that lasts is to be said again."""

from __future__ import annotations

__all__ = ["Reminder"]


class Reminder:
    """Says whether to log something now: at first, and then at intervals."""

    def __init__(self, interval: int) -> None:
        """Take the interval in ms."""
        self._interval = interval
        self._last: int | None = None
        self._text = ""

    def due(self, now: int, text: str = "") -> bool:
        """Return whether it is to be said now, by a monotonic clock in ms.

        Another text always is.
        """
        if self._last is not None and text == self._text and now - self._last < self._interval:
            return False
        self._last, self._text = now, text
        return True
