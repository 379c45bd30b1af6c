"""The input buffer of a task where a stream meets a table.

It keeps event-time order even while an input is still being written. Pure. A repartition topic may be at its end
because its writers have not progressed further yet. Their marks (see `watermarks/records.py`) say how far they are: as
long as one of them has more to read, no record of another input is taken that is newer than its time. In such a topic,
an older record of another task may follow a newer one, so the input counts as old as its oldest queued record.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from ...operators.record import Record
from ...state.topic_partition import TopicPartition
from ..watermarks.records import FOREVER, ReceivedMarks
from .buffer import InputBuffer, LaterRecords, Run, within

__all__ = ["OrderedBuffer"]

MUCH = 128 << 10
"""Bytes that must be queued before a partition is paused, unless there are hundreds of partitions."""


class OrderedBuffer(InputBuffer):
    """The input queues of a task, some of which carry marks."""

    def __init__(self, keys: Iterable[TopicPartition], received: Mapping[TopicPartition, ReceivedMarks]) -> None:
        """Make empty queues; `received` has the marks that have arrived, by input."""
        super().__init__(keys)
        self._received = received
        self._reached: dict[TopicPartition, int] = {}

    def offer(self, key: TopicPartition, records: list[Record[Any, Any]] | LaterRecords, end: int, size: int) -> None:
        super().offer(key, records, end, size)
        if key in self._received and isinstance(records, list) and records:
            times = [record.timestamp for record in reversed(records)]
            self._by_key[key].chunks[-1].oldest = [*accumulate(times, min)][::-1]

    def next_run(self, limit: int | None = None, wait: bool = True, until: int | None = None) -> Run | None:
        """Return the next run, as `InputBuffer.next_run` does, and also wait for marks.

        With `wait` false, inputs that are still being written are not waited for either.
        """
        times: dict[TopicPartition, int] = {}
        for queue in self._inputs:
            if not queue.chunks:
                if (wait or queue.awaited) and not queue.caught_up:
                    return None
            elif queue.chunks[0].head is None:
                return self._take(queue, 0)
            else:
                times[queue.key] = self._time(queue.key)
        if not times:
            return None
        order = [queue.key for queue in self._inputs if queue.key in times]
        best = min(order, key=times.__getitem__)
        bound = FOREVER if until is None else until
        for place, key in enumerate(order):
            if key != best:
                bound = min(bound, times[key] - (place < order.index(best)))
        if wait:
            bound = min([bound, *(marks.reached for key, marks in self._received.items() if key != best)])
        queue = self._by_key[best]
        chunk = queue.chunks[0]
        count = len(chunk.records) - chunk.start
        count = self._within(best, bound, count if limit is None else min(count, limit))
        if count == 0:
            return self._too_much(limit, until) if wait else None
        return self._take(queue, count)

    def _too_much(self, limit: int | None, until: int | None) -> Run | None:
        """Return a run of an input that blocks others although its queue is full.

        No more of such an input may be fetched, and the mark that unblocks it comes later.
        """
        for queue in self._inputs:
            if queue.size > MUCH and queue.key in self._received and self._received[queue.key].reached < FOREVER:
                chunk = queue.chunks[0]
                most = len(chunk.records) - chunk.start
                most = most if limit is None else min(most, limit)
                count = most if until is None else self._within(queue.key, until, most)
                if count:
                    return self._take(queue, count)
        return None

    def waiting(self) -> tuple[TopicPartition, ...]:
        """Return the inputs that block the others, none if the mark of one of them has advanced.

        Each time that a mark advances, the wait for it begins again.
        """
        if not any(queue.chunks for queue in self._inputs):
            return ()
        reached = {key: marks.reached for key, marks in self._received.items()}
        moved, self._reached = reached != self._reached, reached
        if moved:
            return ()
        return tuple(
            queue.key
            for queue in self._inputs
            if (not queue.chunks and not queue.caught_up) or reached.get(queue.key, FOREVER) < FOREVER
        )

    def _within(self, key: TopicPartition, bound: int, most: int) -> int:
        """Return how many of the first records of an input precede a record within the bound.

        These are the records that are not newer than the bound, and those queued before such a record.
        """
        chunk, *later = self._by_key[key].chunks
        if chunk.oldest is None:
            return within(chunk, most, bound)
        if any(each.oldest is not None and each.oldest[0] <= bound for each in later):
            return most
        return bisect_right(chunk.oldest, bound, chunk.start, chunk.start + most) - chunk.start

    def _time(self, key: TopicPartition) -> int:
        """Return the time by which an input with records is ordered."""
        head, *later = self._by_key[key].chunks
        if head.oldest is None:
            return head.records[head.start].timestamp
        return min([head.oldest[head.start], *(each.oldest[0] for each in later if each.oldest is not None)])
