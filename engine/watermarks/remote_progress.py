"""How far tasks of other processes are that have a backlog, as far as this process is told by their marks.

Pure but for what it remembers. Tasks that feed windows through a repartition topic do not run further ahead of those in
other processes than some event time, so that what must wait for the slowest stays small. Who tells nothing new for long
is not waited for: nothing is lost by that, it only makes the windows that are open more.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

__all__ = ["AHEAD_MS", "Elsewhere", "Told"]

AHEAD_MS = 3_600_000
"""How far ahead of others a task may run, where its own kind is not to be closer together: what is told of others is
older than they are by a commit and a fetch."""

Told = Iterable[tuple[int, int, int]]
"""Of tasks that have more to read: their sub-topology, as marks name it, their number, and their time."""


class Elsewhere:
    """What was told last of the slowest task of each sub-topology, of those that do not run here."""

    def __init__(self, patience: int) -> None:
        """`patience` in ms is how long one is waited for that tells nothing new."""
        self._patience = patience
        self._slowest: dict[int, tuple[int, int]] = {}

    def heard(self, told: Told, here: Set[tuple[int, int]], now: int) -> None:
        """Takes up what is told; `here` are the tasks of this process, whose times are known better."""
        slowest: dict[int, int] = {}
        for part, number, time in told:
            if time >= 0 and (part, number) not in here and time < slowest.get(part, time + 1):
                slowest[part] = time
        self._slowest = {
            part: known if (known := self._slowest.get(part)) is not None and known[0] == time else (time, now)
            for part, time in slowest.items()
        }

    def until(self, part: int, apart: int, now: int) -> int | None:
        """What time tasks of a sub-topology may have that are to be `apart` by so much; None: any."""
        known = self._slowest.get(part)
        if known is None or now - known[1] > self._patience:
            return None
        return known[0] + max(apart, AHEAD_MS)
