"""How many records a run may have, so that it takes a fraction of a second however slow the functions are.

Work is bounded by time: nothing is known of a function before it was called, so the first run has one record, and each
one after it at most twice as many as were just processed in time. Runs that were too slow get shorter, but only as far
as that makes them quicker: a function that costs the same for one record as for a hundred is given many at a time.
Pure.
"""

from __future__ import annotations

__all__ = ["Limit"]

FAST_MS = 50
"""Runs get longer while they take less."""
AIM_MS = 100
"""How long what grows with the number of records should take in a run."""
LONGEST_MS = 2_000
"""No run is begun that would take longer at the pace of the one before."""
TRY_MS = 10_000
"""After a run that took longer, the next is not longer, whatever it might save."""
APART = 1.5
"""Runs whose sizes differ by this factor tell what a record costs, and what a run costs whatever its size."""


class Limit:
    """The limit of one kind of run, from the runs there were."""

    __slots__ = ("_before", "_fixed", "_most", "records")

    def __init__(self, most: int) -> None:
        """`most` is the most records that a run may ever have."""
        self._most = most
        self.records = 1
        """The most records of the next run."""
        self._before: tuple[int, int] | None = None
        """Size and ms of the run before, if it was not fast."""
        self._fixed: int | None = None
        """Ms that a run takes however few its records are; None while that is not known."""

    def ran(self, count: int, elapsed: int) -> None:
        """A run of `count` records took so many ms."""
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
        """What a run costs whatever its size, as far as this run and the one before tell."""
        before, self._before = self._before, (count, elapsed)
        if before is not None and (count >= APART * before[0] or before[0] >= APART * count):
            each = (elapsed - before[1]) / (count - before[0])
            self._fixed = max(0, elapsed - round(max(0.0, each) * count))
        return self._fixed
