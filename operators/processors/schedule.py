"""The schedule of the methods with `every` of a `Processor`.

By stream time, due times are the multiples of the interval, and a method is due at the first record of the step. By the
wall clock, due times are counted from the first run of the step. If time jumps over several due times, the method is
called once, and the later due times are unchanged. Due times are stored under the method's name, to survive restarts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..stores.expiring import Cache
from ..time.every import Every

__all__ = ["Recurring", "Schedule"]


class Recurring(msgspec.Struct, frozen=True):
    """The cache key of a method's next due time."""

    name: str


class Schedule:
    """The methods of one clock."""

    def __init__(self, cache: Cache | None, clock: str, methods: Mapping[str, Every]) -> None:
        self._cache: Any = cache
        self._wall = clock == "wall"
        self._intervals = {name: every.interval for name, every in methods.items() if every.clock == clock}
        self._next: int | None = None  # nothing is due before this time; None until computed

    def __bool__(self) -> bool:
        return bool(self._intervals)

    def due(self, time: int) -> bool:
        """Return whether any method is due."""
        return any(self._due(name, time) <= time for name in self._intervals)

    def take(self, time: int) -> str | None:
        """Return the first due method, None if none is due, and advance its due time."""
        if self._next is not None and time < self._next:
            return None
        dues = {name: self._due(name, time) for name in self._intervals}
        name = min(dues, key=dues.__getitem__)
        due = dues[name]
        if due > time:
            self._next = due
            return None
        interval = self._intervals[name]
        self._cache.put(Recurring(name), due + ((time - due) // interval + 1) * interval)
        return name

    def _due(self, name: str, time: int) -> int:
        due: int | None = self._cache[Recurring(name)]
        if due is None:
            due = time + self._intervals[name] if self._wall else 0
            self._cache.put(Recurring(name), due)
        return due
