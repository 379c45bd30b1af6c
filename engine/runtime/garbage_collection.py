"""Runs Python's cyclic garbage collector between commits instead of within batches.

By default the collector runs whenever some hundreds of additional containers are alive, and traverses all young ones. A
stream processor creates a hundred thousand records per second, hardly any of which is part of a cycle: reference counts
free them, and the collector finds nothing. So while the loop runs, it starts by itself only after a million objects,
and is run explicitly after a commit from time to time. Objects that are alive at the start are never traversed again
(https://docs.python.org/3/library/gc.html#gc.freeze).
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ..clock import Clock

__all__ = ["GarbageCollector", "deferred_collection"]

RARELY: Final = 1_000_000
"""How many additional container objects may be alive before the collector starts by itself."""
YOUNG_MS: Final = 5_000
ALL_MS: Final = 300_000


@contextmanager
def deferred_collection() -> Generator[None, None, None]:
    """Leave collection to `GarbageCollector` while entered.

    A program that has configured the collector itself keeps its configuration. There is one set of frozen objects: what
    was frozen before stays frozen at the end.
    """
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    if not gc.isenabled() or before[0] not in (700, 2_000):  # Python's defaults, by version
        yield
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(RARELY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if not frozen:
            gc.unfreeze()


class GarbageCollector:
    """Runs the collector at intervals, when called after a commit."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._young = self._all = clock.monotonic()

    def turn(self) -> None:
        """Run a collection if one is due and the program has not configured the collector itself."""
        now = self._clock.monotonic()
        if now - self._young < YOUNG_MS or gc.get_threshold()[0] != RARELY:
            return
        self._young = now
        if now - self._all < ALL_MS:
            gc.collect(1)
        else:
            self._all = now
            gc.collect()
