"""When the methods of a `Processor` that are marked with `every` are called next.

By stream time the due times are the multiples of the interval, and the first record that the step sees is due at once;
by the wall clock they are counted from when the step first ran. A jump over several of them calls a method once, and
the due times after it are again where they would have been. Kept under the method's name, so that a restart goes on.
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
    """The methods that are called by one clock."""

    def __init__(self, cache: Cache | None, clock: str, methods: Mapping[str, Every]) -> None:
        self._cache: Any = cache
        self._wall = clock == "wall"
        self._intervals = {name: every.interval for name, every in methods.items() if every.clock == clock}
        self._next: int | None = None  # nothing is due before this; not known at first

    def __bool__(self) -> bool:
        return bool(self._intervals)

    def due(self, time: int) -> bool:
        """Whether any method is due."""
        return any(self._due(name, time) <= time for name in self._intervals)

    def take(self, time: int) -> str | None:
        """The name of a method that is due, the one that is due first; it is due an interval later then."""
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
