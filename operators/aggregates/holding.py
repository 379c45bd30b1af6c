"""`HoldingFold`: a fold per key whose results are made at the commit.

Of the results of a key between two commits only the last one is sent, and an entry has all that its result needs. So
the loop notes which keys have changed, in what order, and by which record; the results are made from the entries at
the commit. That needs keys that are equal only if their bytes are, results that can be made later, and rows that do
not end. Other folds are held by a `RecordCache`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any, Final, TypeAlias

from ...state.cache import StateCache
from ..graph.operator import OptionalCall
from ..graph.record_loop import Records
from ..record import Headers, Record
from ..stores.entries import Entry
from .fold import FoldLoop
from .keyed import KeyedFold

__all__ = ["NOTHING_WAITS", "Change", "HoldingFold"]

Change: TypeAlias = tuple[int, Headers, int]
"""The number of a key's last change, and the headers and the offset of the record that made it."""

NOTHING_WAITS: Final = 1 << 63
"""Later than every event time."""


class HoldingFold(KeyedFold):
    """A fold per key that sends the last result of each changed key with the commit."""

    def __init__(self, step: str, cache: StateCache[Any, Any], loop: FoldLoop, shown: Callable[[Entry], Any]) -> None:
        super().__init__(step, cache, loop)
        self._shown = shown
        self.held: dict[Any, Change] = {}
        """The last change of each key since the last commit."""
        self.number = count().__next__
        """Returns the number of the next change."""
        self.oldest = NOTHING_WAITS
        """The event time of the oldest result since the last commit."""

    def handles(self, call: OptionalCall) -> bool:
        """Results wait for the commit."""
        return call in ("oldest_waiting", "before_commit") or super().handles(call)

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        self._loop(self, records, self._cache, self.drops, done.append)

    def before_commit(self, now: int) -> Records:
        """Return the last result of each changed key, in the order of the last change."""
        entries: Any = self._cache
        shown = self._shown
        changes = sorted([(change, key) for key, change in self.held.items()])
        self.held.clear()
        self.oldest = NOTHING_WAITS
        return [
            Record(key, shown(entry), entry[0], headers, offset)
            for (_, headers, offset), key in changes
            for entry in (entries[key],)
        ]

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest result since the last commit."""
        return self.oldest if self.held else None
