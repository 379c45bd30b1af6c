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

from ..operators.record import Record

__all__ = ["InputBuffer", "Run"]

Key = tuple[str, int]


class Run(NamedTuple):
    """Consecutive records of one partition, next in event-time order.

    `next_offset` is where the partition goes on after them.
    """

    topic: str
    partition: int
    records: list[Record[Any, Any]]
    next_offset: int


class _Chunk:
    """Records of one batch, the offset after the batch, and its size in bytes."""

    __slots__ = ("records", "end", "size")

    def __init__(self, records: list[Record[Any, Any]], end: int, size: int) -> None:
        self.records = records
        self.end = end
        self.size = size


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
        """Adds what one batch held: its records in order, the offset after it, its bytes."""
        queue = self._by_key[key]
        queue.chunks.append(_Chunk(records, end, size))
        queue.size += size
        queue.end = end
        queue.caught_up = False

    def caught_up(self, key: Key, yes: bool) -> None:
        """Says whether the partition has nothing more at the moment."""
        self._by_key[key].caught_up = yes

    def next_run(self, wait: bool = True) -> Run | None:
        """The next run, or None when there is nothing to take yet.

        With `wait` false inputs that are empty are not waited for.
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
            head = chunks[0].records
            if not head:
                return self._take_all(queue)
            full += 1
            time = head[0].timestamp
            if best is None or time < best_time:
                best, best_time = queue, time
        if best is None:
            return None
        if full == 1:
            return self._take_all(best)
        return self._take_until(best, *self._limit(best))

    def _limit(self, best: _Input) -> tuple[int, bool]:
        """The smallest head among the other inputs, and whether records as old as it may still be taken."""
        limit: int | None = None
        inclusive = True
        before = True
        for queue in self._inputs:
            if queue is best:
                before = False
                continue
            if not queue.chunks:
                continue
            time = queue.chunks[0].records[0].timestamp
            if limit is None or time < limit:
                limit, inclusive = time, not before
            elif time == limit and before:
                inclusive = False
        assert limit is not None
        return limit, inclusive

    def _take_all(self, queue: _Input) -> Run:
        chunk = queue.chunks.popleft()
        queue.size -= chunk.size
        return Run(*queue.key, chunk.records, chunk.end)

    def _take_until(self, queue: _Input, limit: int, inclusive: bool) -> Run:
        chunk = queue.chunks[0]
        records = chunk.records
        count = len(records)
        bound = limit if inclusive else limit - 1
        taken = 0
        for record in records:
            if record.timestamp > bound:
                break
            taken += 1
        if taken == count:
            return self._take_all(queue)
        share = chunk.size * taken // count
        queue.chunks[0] = _Chunk(records[taken:], chunk.end, chunk.size - share)
        queue.size -= share
        return Run(*queue.key, records[:taken], records[taken].offset)

    def sizes(self) -> dict[Key, int]:
        """Bytes waiting, by input."""
        return {queue.key: queue.size for queue in self._inputs}

    def waiting(self) -> tuple[Key, ...]:
        """The inputs that hold the others up: empty and not known to be caught up, while another has records."""
        if not any(queue.chunks for queue in self._inputs):
            return ()
        return tuple(queue.key for queue in self._inputs if not queue.chunks and not queue.caught_up)

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
