"""What a task has received and not yet processed, and which run of it comes next.

Pure: no clock, no Kafka. Across the inputs of a task records are taken in order of event time. A run is taken only when
every input has a record or is known to have none (caught up), and it is the longest prefix of one input that passes no
other input's head; ties go to the input that was named first. So the result does not depend on how the inputs were cut
into batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from ...operators.record import Record
from ...state.footprint import footprint

__all__ = ["InputBuffer", "Run", "within"]

Key = tuple[str, int]
SAMPLE = 8
"""How many records of a batch are measured."""
LEAST = 128
"""Bytes of memory that a record takes beside its key and value: itself, its time and its offset."""
BATCH = 200
"""Bytes of memory that a batch takes beside its records."""


class Run(NamedTuple):
    """Consecutive records of one partition, next in event-time order.

    `next_offset` is where the partition goes on after them.
    """

    topic: str
    partition: int
    records: list[Record[Any, Any]]
    next_offset: int


class _Chunk:
    """Records of one batch, how many of them are taken, the offset after the batch, and the memory of the others.

    Where records may lie behind newer ones, `oldest` has the oldest time from each on.
    """

    __slots__ = ("records", "start", "end", "size", "oldest")

    def __init__(self, records: list[Record[Any, Any]], end: int, size: int) -> None:
        self.records = records
        self.start = 0
        self.end = end
        self.size = size
        self.oldest: list[int] | None = None

    @property
    def head(self) -> Record[Any, Any] | None:
        """The next record; None when the batch had none that could be used."""
        return self.records[self.start] if self.records else None


class _Input:
    __slots__ = ("key", "chunks", "caught_up", "size", "end")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.chunks: deque[_Chunk] = deque()
        self.caught_up = False
        self.size = 0
        self.end: int | None = None


class InputBuffer:
    """The input queues of one task, by (topic, partition)."""

    def __init__(self, keys: Iterable[Key]) -> None:
        self._inputs = [_Input(key) for key in keys]
        self._by_key = {queue.key: queue for queue in self._inputs}

    def offer(self, key: Key, records: list[Record[Any, Any]], end: int, size: int) -> None:
        """Adds what one batch held: its records in order, the offset after it, its bytes in Kafka."""
        queue = self._by_key[key]
        size = memory_of(records, size)
        queue.chunks.append(_Chunk(records, end, size))
        queue.size += size
        queue.end = end
        queue.caught_up = False

    def caught_up(self, key: Key, yes: bool) -> None:
        """Says whether the partition has nothing more at the moment."""
        self._by_key[key].caught_up = yes

    def reached(self, key: Key, end: int) -> bool:
        """The partition has been read up to an offset, behind which it goes on: markers of transactions and records of
        aborted ones may lie before it. True when nothing of it waits here, so that it is processed up to there too."""
        chunks = self._by_key[key].chunks
        if chunks:
            chunks[-1].end = max(chunks[-1].end, end)
        return not chunks

    def next_run(self, limit: int | None = None, wait: bool = True, until: int | None = None) -> Run | None:
        """The next run of at most `limit` records, or None when there is nothing to take yet.

        With `wait` false inputs that are empty are not waited for; with `until` no record after that time is taken.
        """
        best: _Input | None = None
        best_time = 0
        full = 0
        for queue in self._inputs:
            chunks = queue.chunks
            if not chunks:
                if wait and not queue.caught_up:
                    return None
                continue
            head = chunks[0].head
            if head is None:
                return self._take(queue, 0)
            full += 1
            if best is None or head.timestamp < best_time:
                best, best_time = queue, head.timestamp
        if best is None:
            return None
        count = len(best.chunks[0].records) - best.chunks[0].start
        if limit is not None and limit < count:
            count = limit
        bound = self._passed_by(best) if full > 1 else None
        if until is not None and (bound is None or until < bound):
            bound = until
        if bound is not None:
            count = within(best.chunks[0], count, bound)
            if count == 0:
                return None
        return self._take(best, count)

    def next_time(self) -> int | None:
        """The event time of the oldest head, None when nothing waits; -1 for a batch without records, which is next."""
        heads = [queue.chunks[0].head for queue in self._inputs if queue.chunks]
        return min((-1 if head is None else head.timestamp for head in heads), default=None)

    def _passed_by(self, best: _Input) -> int:
        """The newest time that records of the next input may have without passing another input's head."""
        bound: int | None = None
        inclusive = True
        before = True
        for queue in self._inputs:
            if queue is best:
                before = False
                continue
            head = queue.chunks[0].head if queue.chunks else None
            if head is None:
                continue
            if bound is None or head.timestamp < bound:
                bound, inclusive = head.timestamp, not before
            elif head.timestamp == bound and before:
                inclusive = False
        assert bound is not None
        return bound if inclusive else bound - 1

    @staticmethod
    def _take(queue: _Input, count: int) -> Run:
        """Takes the first `count` records of an input's first chunk."""
        chunk = queue.chunks[0]
        records, start = chunk.records, chunk.start
        left = len(records) - start
        if count == left:
            queue.chunks.popleft()
            queue.size -= chunk.size
            return Run(*queue.key, records[start:] if start else records, chunk.end)
        chunk.start += count
        share = chunk.size * count // left
        chunk.size -= share
        queue.size -= share
        return Run(*queue.key, records[start : chunk.start], records[chunk.start].offset)

    def sizes(self) -> dict[Key, int]:
        """Bytes of memory that wait, by input."""
        return {queue.key: queue.size for queue in self._inputs}

    def may_receive(self) -> bool:
        """True when an input is empty and not known to be caught up."""
        return any(not queue.chunks and not queue.caught_up for queue in self._inputs)

    def waiting(self) -> tuple[Key, ...]:
        """The inputs that hold the others up: empty and not known to be caught up, while another has records."""
        if not any(queue.chunks for queue in self._inputs):
            return ()
        return tuple(queue.key for queue in self._inputs if not queue.chunks and not queue.caught_up)

    def at_end(self, key: Key) -> bool:
        """True when nothing of an input waits and it is known to have nothing more."""
        queue = self._by_key[key]
        return queue.caught_up and not queue.chunks

    def end(self, key: Key) -> int | None:
        """The offset after the last record offered for an input, None when nothing was."""
        return self._by_key[key].end

    def empty(self) -> bool:
        """True when no record waits."""
        return not any(queue.chunks for queue in self._inputs)

    def clear(self) -> None:
        """Forgets all that waits, for a rewind."""
        for queue in self._inputs:
            queue.chunks.clear()
            queue.size = 0
            queue.end = None
            queue.caught_up = False


def within(chunk: _Chunk, count: int, bound: int) -> int:
    """How many of the first `count` records of a chunk are not newer than the bound."""
    start = chunk.start
    for taken in range(count):
        if chunk.records[start + taken].timestamp > bound:
            return taken
    return count


def memory_of(records: list[Record[Any, Any]], size: int) -> int:
    """Bytes of memory that records take which had `size` bytes of keys, values and headers in Kafka.

    Some are measured, since that depends on what was made of them: a number of 8 bytes takes 32, a dict much more. A
    few large ones among them may be missed by that, but not by their bytes.
    """
    count = len(records)
    if not count:
        return 0
    sample = records[:: -(-count // SAMPLE)]
    measured = sum([footprint(record) for record in sample]) * count // len(sample)
    return max(measured, size + LEAST * count) + 8 * count + BATCH
