"""The sink of a target: collects records, has them written, and knows up to where they are.

    process -> waiting -> batch, which is written -> written, or some records refused -> the rest, written again

A target of files or commits stages a batch, and writes several together later. The position in the target counts, and
the offset that Kafka has follows it: `unwritten` holds the offset of the task back. So what waits here is not state;
after a failure it is read again, and the writer leaves out what the target has.
"""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from ...state.footprint import footprint
from ..errors import RecordError
from ..graph.operator import Operator
from ..graph.target import TargetWriter
from ..record import Record

__all__ = ["MOST_BYTES", "MOST_WAITING", "MOST_WRITTEN", "TargetSink"]

Records: TypeAlias = list[Record[Any, Any]]

MOST_WAITING = 20_000
"""Records that wait at most; the task receives no more until some are written."""
MOST_BYTES = 32 << 20
"""The estimated memory that they take at most."""
MOST_WRITTEN = 10_000
"""Records of one write."""


class TargetSink(Operator):
    """A step that writes to a target."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._writer: TargetWriter | None = None
        self._waiting: deque[Record[Any, Any]] = deque()
        self._batch: Records = []
        """The records to be written now, without those that were refused."""
        self._first: int | None = None
        """The offset of the first record of the batch; None if there is no batch."""
        self._position = 0
        """The position behind the batch."""
        self._under_way = False
        self._refused: deque[tuple[Record[Any, Any], Exception]] = deque()
        self._size = 1
        """The estimated bytes of a record."""

    def writes_to(self, writer: TargetWriter) -> None:
        self._writer = writer

    @property
    def waiting(self) -> int:
        """The number of records neither written nor staged, at least 1 if an outcome waits."""
        count = len(self._waiting) + len(self._batch) + len(self._refused)
        return max(count, 1 if self._first is not None or self._working().failed else 0)

    @property
    def room(self) -> int:
        """The number of records that may still come."""
        return max(1, min(MOST_WAITING, MOST_BYTES // self._size)) - self.waiting

    @property
    def unwritten(self) -> int | None:
        """The offset of the first record that may not be in the target, None if all are."""
        first = self._first if self._first is not None or not self._waiting else self._waiting[0].offset
        staged = self._working().staged
        if first is None or staged is None:
            return staged if first is None else first
        return min(staged, first)  # a batch of which the target had the beginning is staged from a later record on

    def process(self, records: Records, now: int) -> list[Any]:
        """Take records; they are written in the background."""
        first = records[0]
        self._size = max(1, footprint(first.key) + footprint(first.value))
        self._waiting.extend(records)
        self._go_on()
        return []

    def collect(self, now: int, limit: int | None) -> list[Any]:
        """Take the outcome of a write, and begin the next one.

        Raises RecordError for a refused record.
        """
        self._go_on()
        if self._refused:
            record, error = self._refused.popleft()
            raise RecordError(self._step, 0, record, [], doing="write") from error
        return []

    def close(self) -> None:
        """End the writes."""
        self._working().close()

    def _go_on(self) -> None:
        """Take the outcome of the write under way, and begin the next one."""
        self._next()
        if not self._under_way and self._working().failed:
            self._working().outcome()
        while self._under_way and (refused := self._working().outcome()) is not None:
            self._under_way = False
            if refused:
                self._refused.extend((self._batch[index], refused[index]) for index in sorted(refused))
                self._batch = [record for index, record in enumerate(self._batch) if index not in refused]
            else:
                self._batch, self._first = [], None
            self._next()

    def _next(self) -> None:
        """Begin a write, unless one is under way or a refused record waits for its policy."""
        if self._under_way or self._refused:
            return
        if self._first is None:
            if not self._waiting:
                return
            count = min(MOST_WRITTEN, len(self._waiting))
            self._batch = [self._waiting.popleft() for _ in range(count)]
            self._first, self._position = self._batch[0].offset, self._batch[-1].offset + 1
        self._under_way = True
        self._working().write(self._batch, self._position)

    def _working(self) -> TargetWriter:
        assert self._writer is not None, "this step has no writer"
        return self._writer
