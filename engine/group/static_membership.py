"""A static member's place in the group, which a rival may take: another process with the same instance id.

The newest process has the place. But a JoinGroup of the process that was here before may come late, after that was
killed and this one has joined in its place: so soon after the start, the place is taken back, once.
"""

from __future__ import annotations

__all__ = ["Place"]

SECONDS = 30.0
"""How late a request of a killed process may come, about."""


class Place:
    """What is known of the place of one process."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._taken_back = False
        self.doubt: tuple[int, str] | None = None
        """Generation and member id under which this process was fenced and does not know by whom."""

    def may_take_back(self, now: float) -> bool:
        """Asked when somebody else has the place. True at most once."""
        may = not self._taken_back and now - self._since < SECONDS
        self._taken_back = True
        return may
