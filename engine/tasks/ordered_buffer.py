"""The input of a task where a stream meets a table: in order of event time also where an input is still being written.

Pure. A repartition topic may be at its end because those that write it have not come so far yet. What they tell (see
`watermarks/records.py`) says how far they have: as long as one of them has more to read, no record of another input is
taken that is newer than its time. In such a topic a record may lie behind a newer one of another task, so it counts as
old as the oldest that waits in it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from ...operators.record import Record
from ..watermarks.records import FOREVER, Told
from .buffer import InputBuffer, Run, within

__all__ = ["OrderedBuffer"]

Key = tuple[str, int]
MUCH = 128 << 10
"""Bytes; a partition is not paused before more than that waits, unless there are hundreds."""


class OrderedBuffer(InputBuffer):
    """The input queues of a task, some of which carry marks."""

    def __init__(self, keys: Iterable[Key], told: Mapping[Key, Told]) -> None:
        """`told` is what has come on the inputs that carry marks."""
        super().__init__(keys)
        self._told = told
        self._reached: dict[Key, int] = {}

    def offer(self, key: Key, records: list[Record[Any, Any]], end: int, size: int) -> None:
        super().offer(key, records, end, size)
        if key in self._told and records:
            times = [record.timestamp for record in reversed(records)]
            self._by_key[key].chunks[-1].oldest = [*accumulate(times, min)][::-1]

    def next_run(self, limit: int | None = None, wait: bool = True, until: int | None = None) -> Run | None:
        """See `InputBuffer.next_run`; with `wait` false what is still being written is not waited for either."""
        times: dict[Key, int] = {}
        for queue in self._inputs:
            if not queue.chunks:
                if wait and not queue.caught_up:
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
            bound = min([bound, *(told.reached for key, told in self._told.items() if key != best)])
        queue = self._by_key[best]
        chunk = queue.chunks[0]
        count = len(chunk.records) - chunk.start
        count = self._within(best, bound, count if limit is None else min(count, limit))
        if count == 0:
            return self._too_much(limit, until) if wait else None
        return self._take(queue, count)

    def _too_much(self, limit: int | None, until: int | None) -> Run | None:
        """A run of an input that holds others up and of which so much waits that no more of it may be fetched: what is
        told of its time comes after it."""
        for queue in self._inputs:
            if queue.size > MUCH and queue.key in self._told and self._told[queue.key].reached < FOREVER:
                chunk = queue.chunks[0]
                most = len(chunk.records) - chunk.start
                most = most if limit is None else min(most, limit)
                count = most if until is None else self._within(queue.key, until, most)
                if count:
                    return self._take(queue, count)
        return None

    def waiting(self) -> tuple[Key, ...]:
        """The inputs that hold the others up. Each time that one of them has come on they are waited for anew."""
        if not any(queue.chunks for queue in self._inputs):
            return ()
        reached = {key: told.reached for key, told in self._told.items()}
        moved, self._reached = reached != self._reached, reached
        if moved:
            return ()
        return tuple(
            queue.key
            for queue in self._inputs
            if (not queue.chunks and not queue.caught_up) or reached.get(queue.key, FOREVER) < FOREVER
        )

    def _within(self, key: Key, bound: int, most: int) -> int:
        """How many of the first records of an input are not newer than the bound, or lie before one that is not."""
        chunk, *later = self._by_key[key].chunks
        if chunk.oldest is None:
            return within(chunk, most, bound)
        if any(each.oldest is not None and each.oldest[0] <= bound for each in later):
            return most
        return bisect_right(chunk.oldest, bound, chunk.start, chunk.start + most) - chunk.start

    def _time(self, key: Key) -> int:
        """How old an input counts that has records."""
        head, *later = self._by_key[key].chunks
        if head.oldest is None:
            return head.records[head.start].timestamp
        return min([head.oldest[head.start], *(each.oldest[0] for each in later if each.oldest is not None)])
