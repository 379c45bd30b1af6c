"""The state that the loop's thread and the membership's thread share, under one condition.

Plain fields: `session.py` (the protocol) and `membership.py` (the calls) document which thread changes which, and when.
"""

from __future__ import annotations

import threading
from collections import deque

from ..assignment.ownership import Ownership
from ..ids import TaskId
from .events import Event

__all__ = ["MembershipState"]


class MembershipState:
    """The state shared by the loop's thread and the membership's thread, with its condition."""

    def __init__(self, process: str, changed: threading.Condition, now: float) -> None:
        self.changed = changed
        self.ownership = Ownership(process)
        self.events: deque[Event] = deque()
        self.phase = "unjoined"
        self.member = ""
        self.generation = -1
        """The newest known generation, for commits; -1 while not a member."""
        self.joining = False
        """True while this member's own JoinGroup is in flight."""
        self.sending = 0
        """The number of offset commits in flight."""
        self.lags: dict[TaskId, int] = {}
        self.weights: dict[TaskId, int] = {}
        self.sizes: dict[TaskId, int] = {}
        self.reported_lags: dict[TaskId, int] = {}
        """The lags as last reported to the group; `reported_at` is the time of that report."""
        self.reported_at = now
        self.progressed = now
        self.members = 0
        """The number of members of the group."""
        self.trouble = ""
        self._silent_since: float | None = None
        """The time since which the coordinator has not responded; None while it responds."""
        self.leader = False

    def answered(self) -> None:
        """Note that the group's coordinator has responded."""
        self.trouble, self._silent_since = "", None

    def failed(self, why: str, now: float) -> None:
        """Note that the group's coordinator has not responded."""
        self.trouble = why
        self._silent_since = now if self._silent_since is None else self._silent_since

    def silent(self, now: float) -> float:
        """Return for how many seconds the coordinator has not responded.

        A pending join does not count: its response waits for other members.
        """
        return 0.0 if self._silent_since is None or self.joining else now - self._silent_since
