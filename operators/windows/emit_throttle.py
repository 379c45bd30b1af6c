"""Window results that wait: at most one per window and interval is sent, the newest.

The interval is in wall-clock time.

What waits is in the step's store, so it survives a restart: under `(WAIT, slot)` the event time of the last change and
the entry as it was when a result was last sent, if ever; under `DUE` when all of it is sent. The interval begins with
the first change after the last sending, so two results of one window are never closer together than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...state.keys import window_key
from ...state.window_cache import Cache
from ..record import Record, Update
from ..stores.entries import DUE, WAIT, Entry

__all__ = ["EmitThrottle"]

NEVER = 1 << 62


class EmitThrottle:
    """The results that wait in one task."""

    def __init__(
        self,
        cache: Cache,
        interval: int,
        shown: Callable[[Entry], Any],
        windowed: Callable[[Any], Any],
        *,
        updates: bool,
    ) -> None:
        """`shown` makes an entry its result, `windowed` a slot the key of it."""
        self._cache = cache
        self._interval = interval
        self._shown = shown
        self._windowed = windowed
        self._updates = updates
        self.now = 0
        """The wall clock, while a batch is processed."""
        self._oldest: int | None = None  # None when it has to be looked for

    def note(self, slot: Any, before: Entry | None, newest: int) -> None:
        """Note that the entry of a slot has changed from `before`.

        The change has the event time `newest`.
        """
        cache, mark = self._cache, (WAIT, slot)
        known = cache[mark]
        if known is None:
            known = (newest,) if before is None else before
            if cache[DUE] is None:
                cache.put(DUE, (self.now + self._interval,))
                self._oldest = newest
            elif self._oldest is not None:
                self._oldest = min(self._oldest, newest)
        cache.put(mark, (newest, *known[1:]))

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest change that waits, None when none does."""
        if self._cache[DUE] is None:
            return None
        if self._oldest is None:
            self._oldest = min((waits[0] for _, waits in self._marks()), default=NEVER)
        return self._oldest

    def _marks(self) -> Iterator[tuple[Any, Any]]:
        return self._cache.scan(window_key(WAIT, b""), window_key(WAIT + 1, b""))

    def gone(self, slot: Any, before: Entry, newest: int) -> None:
        """Note that the entry of a slot was merged into another.

        Unless its result was sent, it never will be.
        """
        mark = (WAIT, slot)
        known = self._cache[mark]
        if known is not None and len(known) == 1:
            self._cache.delete(mark)
        else:
            self.note(slot, before, newest)

    def has(self, slot: Any) -> bool:
        """Whether a slot has a result that waits."""
        return self._cache[WAIT, slot] is not None

    def slots(self, first: int, after: int) -> set[Any]:
        """Return the slots with starts in [first, after) that have a result that waits."""
        lo, hi = window_key(WAIT, window_key(first, b"")), window_key(WAIT, window_key(after, b""))
        return {mark[1] for mark, _ in self._cache.scan(lo, hi)}

    def sent(self, now: int, forget: Callable[[Any], object]) -> list[Record[Any, Any]]:
        """Return what is to be sent now, deleted rows first.

        `forget` is called with each slot that was sent.
        """
        cache = self._cache
        due = cache[DUE]
        if due is None or 0 < due[0] - now <= self._interval:  # further away: the clock was put back
            return []
        gone: list[Record[Any, Any]] = []
        results: list[Record[Any, Any]] = []
        for mark, waits in list(self._marks()):
            slot = mark[1]
            entry = cache[slot]
            cache.delete(mark)
            old = None if len(waits) == 1 else self._shown(waits)
            new = None if entry is None else self._shown(entry)
            forget(slot)
            if old is None and new is None:
                continue
            value = Update(old, new) if self._updates else new
            time = waits[0] if entry is None else entry[0]
            (gone if new is None else results).append(Record(self._windowed(slot), value, time, (), -1))
        cache.delete(DUE)
        return gone + results
