"""What the loop's thread and the membership's thread share, under one condition.

Plain fields: who may change which, and when, is said in `session.py` (the protocol) and `membership.py` (the calls).
"""

from __future__ import annotations

import threading
from collections import deque

from ..assignment.ownership import Ownership
from ..ids import TaskId
from .events import Event

__all__ = ["State"]


class State:
    """What the loop's thread and the membership's thread share, and the condition that guards it."""

    def __init__(self, process: str, changed: threading.Condition, now: float) -> None:
        self.changed = changed
        self.ownership = Ownership(process)
        self.events: deque[Event] = deque()
        self.phase = "unjoined"
        self.member = ""
        self.generation = -1
        """The newest generation heard of, for commits; -1 while not a member."""
        self.joining = False
        """Our own JoinGroup is in flight."""
        self.sending = 0
        """Commits of offsets that are under way."""
        self.lags: dict[TaskId, int] = {}
        self.weights: dict[TaskId, int] = {}
        self.sizes: dict[TaskId, int] = {}
        self.told_lags: dict[TaskId, int] = {}
        """The lags when the group last heard of them, and when that was."""
        self.told_at = now
        self.progressed = now
        self.members = 0
        """How many there are in the group."""
        self.trouble = ""
        self._silent_since: float | None = None
        """Since when there is trouble."""
        self.leader = False

    def answered(self) -> None:
        """The group's coordinator has answered."""
        self.trouble, self._silent_since = "", None

    def failed(self, why: str, now: float) -> None:
        """It has not."""
        self.trouble = why
        self._silent_since = now if self._silent_since is None else self._silent_since

    def silent(self, now: float) -> float:
        """For how many seconds it has not answered; an answer that waits for other members may take its time."""
        return 0.0 if self._silent_since is None or self.joining else now - self._silent_since
