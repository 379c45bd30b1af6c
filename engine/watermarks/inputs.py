"""The marks on a task's inputs: when they count, and what was told so far.

A mark says two things. To the buffer, as soon as it comes: what of this input may still be on its way. To the steps,
when the records before it are processed: what time it is.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from ...operators.record import Batch
from .records import Mark, Producers, Told, split
from .watermarks import Seen

__all__ = ["Incoming"]

Key = tuple[str, int]
offset_of = attrgetter("offset")
WEIGHT = 100
"""Bytes that a mark that waits is counted as."""


class Incoming:
    """The marks of one task's inputs, for those that carry them."""

    def __init__(self, producers: Mapping[str, Producers], keys: Iterable[Key], seen: Mapping[Key, Seen]) -> None:
        """`seen` has what was told before the offsets from which the inputs are read."""
        kept = {key: seen[key].told if key in seen else "" for key in keys if key[0] in producers}
        self._processed = {key: Told(producers[key[0]], text) for key, text in kept.items()}
        self._arrived = {key: Told(producers[key[0]], text) for key, text in kept.items()}
        self._ahead: dict[Key, deque[tuple[int, Mark]]] = {key: deque() for key in kept}

    def take(self, key: Key, batch: Batch) -> tuple[Batch | None, int]:
        """The batch without the marks, None when nothing else is in it, and the bytes to count for the marks."""
        left, marks = split(batch)
        if key in self._ahead:
            for _, mark in marks:
                self._arrived[key].take(mark)
            self._ahead[key].extend(marks)
        return left, WEIGHT * len(marks)

    def due(self, key: Key, records: Sequence[Any], until: int) -> Iterator[tuple[int, int]]:
        """Takes up the marks of an input before an offset, those between two records together.

        Gives how many of the records come before them, and the offset of the last one.
        """
        ahead = self._ahead.get(key)
        place = 0
        while ahead and ahead[0][0] < until:
            place = bisect_left(records, ahead[0][0], place, key=offset_of)
            end = records[place].offset if place < len(records) else until
            at = -1
            while ahead and ahead[0][0] < end:
                at, mark = ahead.popleft()
                self._processed[key].take(mark)
            yield place, at

    def arrived(self) -> Mapping[Key, Told]:
        """What has come of each input, be it processed or not."""
        return self._arrived

    def processed(self) -> Mapping[Key, Told]:
        """What is told by the records that are processed."""
        return self._processed
