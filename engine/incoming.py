"""The marks on a task's inputs: when they count, and what was told so far.

A mark says two things. To the buffer, as soon as it comes: what of this input may still be on its way. To the steps,
when the records before it are processed: what time it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from ..operators.record import Batch
from .marks import Mark, Producers, Told, split
from .watermarks import Seen

__all__ = ["Incoming"]

Key = tuple[str, int]
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

    def due(self, key: Key, offset: int) -> Iterator[tuple[int, Told]]:
        """Takes up the marks of an input before an offset: the offset of each, and what is told with it."""
        ahead = self._ahead.get(key)
        while ahead and ahead[0][0] < offset:
            at, mark = ahead.popleft()
            told = self._processed[key]
            if told.take(mark):
                yield at, told

    def arrived(self) -> Mapping[Key, Told]:
        """What has come of each input, be it processed or not."""
        return self._arrived

    def processed(self) -> Mapping[Key, Told]:
        """What is told by the records that are processed."""
        return self._processed
