"""The place of a static member, which a rival can take: a process with the same instance id.

The newest process owns the place. However, a JoinGroup of the previous process may arrive late, after that process was
killed and this one has joined in its place. For a short time after the start, the place is therefore taken back, once.
"""

from __future__ import annotations

__all__ = ["StaticMembership"]

SECONDS = 30.0
"""The approximate maximum delay of a request of a killed process."""


class StaticMembership:
    """The state of the place of one process."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._taken_back = False
        self.doubt: tuple[int, str] | None = None
        """The generation and member id with which this process was fenced, while the cause is unknown."""

    def may_take_back(self, now: float) -> bool:
        """Return whether to take the place back from another process. True at most once."""
        may = not self._taken_back and now - self._since < SECONDS
        self._taken_back = True
        return may
