"""Closed windows that are still in the store, as ranges of starts.

They are kept until their deletion is committed. A commit deletes them as ranges in the store and key by key in the
changelog, because compaction keeps the last record of each key forever.
"""

from __future__ import annotations

from itertools import chain

from .keys import window_key

__all__ = ["Forgotten"]

FEW = 32
"""Up to this many keys are deleted one by one in the store, too: a range slows down every later lookup a little."""


class Forgotten:
    """The closed windows of one store."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        """The keys in undrained ranges that the store has, or will have."""
        self.size = 0
        """The bytes of these keys."""
        self._ranges: list[tuple[int, int]] = []
        self._drained: list[tuple[int, int]] = []

    def add(self, first: int, after: int, keys: list[bytes]) -> None:
        """Add windows that start at `first` or later and before `after`, with all their keys."""
        if not keys:
            return
        self.keys += keys
        self.size += sum(map(len, keys))
        if self._ranges and self._ranges[-1][1] == first:
            first = self._ranges.pop()[0]
        self._ranges.append((first, after))

    def __contains__(self, start: int) -> bool:
        """Return whether a window's entries in the store are obsolete."""
        return any(first <= start < after for first, after in chain(self._ranges, self._drained))

    def drain(self) -> tuple[list[bytes], tuple[tuple[bytes, bytes], ...]]:
        """Return the keys to delete, and the ranges that contain only these keys.

        There are no ranges if they are not worth it.
        """
        keys, ranges = self.keys, self._ranges
        self.keys, self._ranges, self.size = [], [], 0
        self._drained += ranges
        if len(keys) <= FEW:
            return keys, ()
        return keys, tuple((window_key(first, b""), window_key(after, b"")) for first, after in ranges)

    def complete_commit(self) -> None:
        """Note that the drained keys are deleted from the store."""
        self._drained = []

    def clear(self) -> None:
        """Drop all ranges and keys."""
        self.keys, self._ranges, self._drained, self.size = [], [], [], 0
