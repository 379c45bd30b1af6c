"""The marks on a task's inputs: when they take effect, and the last ones received.

A mark has two uses. The buffer needs it as soon as it arrives: it bounds what this input may still bring. The steps get
it when the records before it are processed: it is their event time.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from ...operators.record import Batch
from ...state.topic_partition import TopicPartition
from .records import Mark, ReceivedMarks, UpstreamTasks, split_marks
from .watermarks import InputProgress

__all__ = ["MarkReceiver"]

offset_of = attrgetter("offset")
WEIGHT = 100
"""The bytes that a waiting mark counts for."""


class MarkReceiver:
    """The marks of one task's inputs, for inputs with marks."""

    def __init__(
        self,
        producers: Mapping[str, UpstreamTasks],
        keys: Iterable[TopicPartition],
        seen: Mapping[TopicPartition, InputProgress],
    ) -> None:
        """Take the marks that were received before the start offsets of the inputs (`seen`)."""
        kept = {key: seen[key].marks if key in seen else "" for key in keys if key[0] in producers}
        self._processed = {key: ReceivedMarks(producers[key[0]], text) for key, text in kept.items()}
        self._arrived = {key: ReceivedMarks(producers[key[0]], text) for key, text in kept.items()}
        self._ahead: dict[TopicPartition, deque[tuple[int, Mark]]] = {key: deque() for key in kept}

    def take(self, key: TopicPartition, batch: Batch) -> tuple[Batch | None, int]:
        """Return a batch without its marks (None if it is empty), and the bytes of the marks."""
        left, marks = split_marks(batch)
        if key in self._ahead:
            for _, mark in marks:
                self._arrived[key].take(mark)
            self._ahead[key].extend(marks)
        return left, WEIGHT * len(marks)

    def due(self, key: TopicPartition, records: Sequence[Any], until: int) -> Iterator[tuple[int, int]]:
        """Yield the marks of an input before an offset, where they take effect between its records.

        Marks between the same two records are taken together. Yields how many of the records come before them, and the
        offset of the last mark.
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

    def arrived(self) -> Mapping[TopicPartition, ReceivedMarks]:
        """Return the marks received on each input, processed or not."""
        return self._arrived

    def processed(self) -> Mapping[TopicPartition, ReceivedMarks]:
        """Return the marks on each input that precede the processed records."""
        return self._processed
