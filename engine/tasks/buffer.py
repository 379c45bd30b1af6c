"""Holds the unprocessed records of a task, and decides on the next run.

Pure: no clock, no Kafka. Records are taken across all inputs of a task in event-time order. A run is taken only when
every input has a record or is known to have none (caught up), and it is the longest prefix of one input that passes no
other input's head; ties go to the input named first. So the result does not depend on how the inputs were cut into
batches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple, Protocol

from ...operators.record import Record
from ...state.footprint import footprint
from ...state.topic_partition import TopicPartition

__all__ = ["InputBuffer", "LaterRecords", "Run", "within"]

SAMPLE = 8
"""The number of records per batch for which memory is measured."""
LEAST = 128
"""Bytes of memory that a record takes besides key and value: the object, its time and its offset."""
BATCH = 200
"""Bytes of memory that a batch takes besides its records."""


class Run(NamedTuple):
    """Consecutive records of one partition, next in event-time order.

    `next_offset` is the next offset to read from the partition after them.
    """

    topic: str
    partition: int
    records: list[Record[Any, Any]]
    next_offset: int


class LaterRecords(Protocol):
    """Records that are made when they are next: they take more memory than their bytes."""

    def memory(self, size: int) -> int:
        """Return the bytes of memory that they will need, about; `size` is that in Kafka."""
        ...

    def records(self) -> list[Record[Any, Any]]:
        """Make them. Raises RecordError."""
        ...


class _Chunk:
    """The records of one batch: how many are taken, the offset after them, the others' memory.

    If older records may follow newer ones, `oldest` has the oldest time from each record on.
    """

    __slots__ = ("_later", "_records", "end", "oldest", "size", "start")

    def __init__(self, records: list[Record[Any, Any]] | LaterRecords, end: int, size: int) -> None:
        self._records: list[Record[Any, Any]] = records if isinstance(records, list) else []
        self._later = None if isinstance(records, list) else records
        self.start = 0
        self.end = end
        self.size = size
        self.oldest: list[int] | None = None

    @property
    def records(self) -> list[Record[Any, Any]]:
        """All its records."""
        if self._later is not None:
            self._records, self._later = self._later.records(), None
        return self._records

    @property
    def head(self) -> Record[Any, Any] | None:
        """The next record, or None if the batch had no usable record."""
        records = self.records
        return records[self.start] if records else None


class _Input:
    __slots__ = ("awaited", "caught_up", "chunks", "end", "key", "size")

    def __init__(self, key: TopicPartition) -> None:
        self.key = key
        self.chunks: deque[_Chunk] = deque()
        self.caught_up = False
        self.awaited = False
        self.size = 0
        self.end: int | None = None


class InputBuffer:
    """The input queues of one task, by (topic, partition)."""

    def __init__(self, keys: Iterable[TopicPartition]) -> None:
        self._inputs = [_Input(key) for key in keys]
        self._by_key = {queue.key: queue for queue in self._inputs}

    def offer(self, key: TopicPartition, records: list[Record[Any, Any]] | LaterRecords, end: int, size: int) -> None:
        """Add one batch: its records in order, the offset after it, its bytes in Kafka."""
        queue = self._by_key[key]
        size = record_memory(records, size) if isinstance(records, list) else records.memory(size)
        queue.chunks.append(_Chunk(records, end, size))
        queue.size += size
        queue.end = end
        queue.caught_up = False

    def caught_up(self, key: TopicPartition, yes: bool) -> None:
        """Set whether the partition has no more records at the moment."""
        self._by_key[key].caught_up = yes

    def await_input(self, key: TopicPartition, yes: bool) -> None:
        """Set whether the next records of an input will come late, and are waited for in any case."""
        queue = self._by_key[key]
        queue.awaited = yes
        if yes:
            queue.caught_up = False

    def reached(self, key: TopicPartition, end: int) -> bool:
        """Note that a partition was read up to `end`; return whether no records of it are queued.

        Markers of transactions and records of aborted ones may precede `end`. If no records are queued, the partition
        is also processed up to `end`.
        """
        chunks = self._by_key[key].chunks
        if chunks:
            chunks[-1].end = max(chunks[-1].end, end)
        return not chunks

    def next_run(self, limit: int | None = None, wait: bool = True, until: int | None = None) -> Run | None:
        """Return the next run of at most `limit` records, or None if there is nothing to take yet.

        With `wait` false, empty inputs are not waited for; with `until`, no record after that time is taken.
        """
        best: _Input | None = None
        best_time = 0
        full = 0
        for queue in self._inputs:
            chunks = queue.chunks
            if not chunks:
                if (wait or queue.awaited) and not queue.caught_up:
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
        """Return the event time of the oldest head, None if nothing is queued.

        -1 stands for a batch without records, which is next.
        """
        heads = [queue.chunks[0].head for queue in self._inputs if queue.chunks]
        return min((-1 if head is None else head.timestamp for head in heads), default=None)

    def _passed_by(self, best: _Input) -> int:
        """Return the newest time that `best` may reach without passing another input's head."""
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
        """Take the first `count` records of an input's first chunk."""
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

    def sizes(self) -> dict[TopicPartition, int]:
        """Return the bytes of memory of queued records, by input."""
        return {queue.key: queue.size for queue in self._inputs}

    def may_receive(self) -> bool:
        """Return whether an input is empty and not known to be caught up."""
        return any(not queue.chunks and not queue.caught_up for queue in self._inputs)

    def waiting(self) -> tuple[TopicPartition, ...]:
        """Return the inputs that block the others.

        They are empty and not known to be caught up, while another input has records.
        """
        if not any(queue.chunks for queue in self._inputs):
            return ()
        return tuple(queue.key for queue in self._inputs if not queue.chunks and not queue.caught_up)

    def at_end(self, key: TopicPartition) -> bool:
        """Return whether an input has no queued records and is known to have no more."""
        queue = self._by_key[key]
        return queue.caught_up and not queue.chunks

    def end(self, key: TopicPartition) -> int | None:
        """Return the offset after the last record offered for an input, None if there was none."""
        return self._by_key[key].end

    def empty(self) -> bool:
        """Return whether no record is queued."""
        return not any(queue.chunks for queue in self._inputs)

    def clear(self) -> None:
        """Drop all queued records, for a rewind."""
        for queue in self._inputs:
            queue.chunks.clear()
            queue.size = 0
            queue.end = None
            queue.caught_up = False


def within(chunk: _Chunk, count: int, bound: int) -> int:
    """Return how many of the first `count` records of a chunk are not newer than the bound."""
    start, records = chunk.start, chunk.records
    for taken in range(count):
        if records[start + taken].timestamp > bound:
            return taken
    return count


def record_memory(records: list[Record[Any, Any]], size: int) -> int:
    """Return the bytes of memory of records that have `size` bytes in Kafka.

    These are the bytes of keys, values and headers. A sample is measured, because the memory depends on the decoded
    type: a number of 8 bytes takes 32, a dict much more. The sample may miss a few large records, but `size` includes
    them.
    """
    count = len(records)
    if not count:
        return 0
    sample = records[:: -(-count // SAMPLE)]
    measured = sum([footprint(record) for record in sample]) * count // len(sample)
    return max(measured, size + LEAST * count) + 8 * count + BATCH
