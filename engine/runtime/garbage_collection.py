"""Python's cyclic garbage collector, run between commits instead of in the middle of batches.

The collector runs by itself whenever some hundreds of containers more are alive, and goes through all young ones. A
stream processor makes a hundred thousand records a second, nearly none of which is part of a cycle: reference counts
free them, and the collector finds nothing. So while the loop runs it begins by itself only after a million objects, and
is asked to look after a commit now and then; what is alive at the start is never looked at again
(https://docs.python.org/3/library/gc.html#gc.freeze).
"""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ..clock import Clock

__all__ = ["Collecting", "collected_rarely"]

RARELY: Final = 1_000_000
"""So many more objects with references are alive before the collector begins by itself."""
YOUNG_MS: Final = 5_000
ALL_MS: Final = 300_000


@contextmanager
def collected_rarely() -> Generator[None, None, None]:
    """While entered the collector is left to `Collecting`. A program that has set it up itself keeps what it has."""
    before = gc.get_threshold()
    if not gc.isenabled() or before[0] not in (700, 2_000):  # Python's own, by version
        yield
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(RARELY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Collecting:
    """Collects now and then, when it is called after a commit."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._young = self._all = clock.monotonic()

    def turn(self) -> None:
        """Collects what is due, if the collector is left to it."""
        now = self._clock.monotonic()
        if now - self._young < YOUNG_MS or gc.get_threshold()[0] != RARELY:
            return
        self._young = now
        if now - self._all < ALL_MS:
            gc.collect(1)
        else:
            self._all = now
            gc.collect()
