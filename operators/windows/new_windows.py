"""The windows that a step has made since it began, by their starts.

Those that expire next are found without a scan of the store, which sorts everything that was written since the last
commit. What the store had at first is not here but found by scans, until all of that has expired. So nothing is rebuilt
after a restart; and if there are too many windows, all are left to scans again.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

__all__ = ["NEVER", "NewWindows"]

NEVER = 1 << 62
"""After all starts."""
MOST = 50_000
"""Windows of one step and task that are held here; with their keys' objects they take about 10 MB."""


class NewWindows:
    """Windows that start after `bound`."""

    def __init__(self, bound: int) -> None:
        """`bound` is the newest start in the store."""
        self.bound = bound
        """Windows that start up to here are found by scans."""
        self._keys: dict[int, list[Any]] = {}
        self._starts: list[int] = []
        self._count = 0

    @property
    def oldest(self) -> int:
        """The oldest start; `NEVER` if there is none."""
        return self._starts[0] if self._starts else NEVER

    def add(self, start: int, key: Any) -> int | None:
        """Add a window; one may be added several times.

        Returns the oldest start that has to be found by scans from now on, if that has changed.
        """
        if start <= self.bound:
            return start
        keys = self._keys.get(start)
        if keys is None:
            self._keys[start] = [key]
            heappush(self._starts, start)
        else:
            keys.append(key)
        self._count += 1
        if self._count <= MOST:
            return None
        oldest, self.bound = self._starts[0], max(self._starts)
        self._keys, self._starts, self._count = {}, [], 0
        return oldest

    def take(self, before: int, encode: Callable[[Any], bytes]) -> list[tuple[int, Any]]:
        """Remove and return the windows that start before, in the order of a scan.

        `encode` gives a slot's bytes.
        """
        starts, slots = self._starts, list[tuple[int, Any]]()
        while starts and starts[0] < before:
            start = heappop(starts)
            keys = self._keys.pop(start)
            self._count -= len(keys)
            found = [(start, key) for key in keys]
            slots += sorted(found, key=encode) if len(found) > 1 else found
        return slots
