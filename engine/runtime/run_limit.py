"""The maximum size of a run, so that runs stay short however slow the functions are.

Work is bounded by time. The cost of a function is unknown before its first call, so the first run has one record, and
each further run at most twice as many as were just processed in time. Runs that were too slow get smaller, but only as
far as that makes them faster: a function that takes as long for one record as for a hundred gets many at a time. Pure.
"""

from __future__ import annotations

__all__ = ["RunLimit"]

FAST_MS = 50
"""Runs get larger while they take less than this."""
AIM_MS = 100
"""Target for the part of a run's duration that grows with the number of records."""
LONGEST_MS = 2_000
"""No run is started that would take longer at the pace of the previous one."""
TRY_MS = 10_000
"""After a run that took longer, the next one is not larger, whatever that would save."""
APART = 1.5
"""Runs whose sizes differ by this factor give the cost per record and the fixed cost."""


class RunLimit:
    """The limit of one kind of run, derived from previous runs."""

    __slots__ = ("_before", "_fixed", "_most", "records")

    def __init__(self, most: int) -> None:
        """Create a limit that never exceeds `most` records."""
        self._most = most
        self.records = 1
        """Maximum number of records of the next run."""
        self._before: tuple[int, int] | None = None
        """Size and duration in ms of the previous run, if it was not fast."""
        self._fixed: int | None = None
        """Fixed cost of a run in ms; None while it is unknown."""

    def ran(self, count: int, elapsed: int) -> None:
        """Adapt the limit after a run of `count` records that took `elapsed` ms."""
        if elapsed < FAST_MS:
            self._before = self._fixed = None
            wanted = min(max(self.records // 2, 2 * count), count * LONGEST_MS // max(1, elapsed))
        else:
            wanted = self._after_slow(count, elapsed)
        self.records = max(1, min(wanted, self._most))

    def _after_slow(self, count: int, elapsed: int) -> int:
        fixed = self._learn(count, elapsed)
        if fixed is None:
            wanted = 2 if count == 1 else count * AIM_MS // elapsed
        else:
            varying = elapsed - min(fixed, elapsed)
            wanted = count * max(AIM_MS, fixed) // max(1, varying)
        return min(wanted, 2 * count if elapsed <= TRY_MS else count)

    def _learn(self, count: int, elapsed: int) -> int | None:
        """Return the fixed cost of a run, if this run and the previous one show it."""
        before, self._before = self._before, (count, elapsed)
        if before is not None and (count >= APART * before[0] or before[0] >= APART * count):
            each = (elapsed - before[1]) / (count - before[0])
            self._fixed = max(0, elapsed - round(max(0.0, each) * count))
        return self._fixed
