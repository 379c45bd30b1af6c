"""One owner's writes to a target that stages records.

nothing staged --write--> staged --roll--> nothing staged
                           ^  |
                           '--' roll failed: it stays staged; the position in the target tells whether it is there
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...operators.graph.target import RecordsRefused, TargetFenced, TargetTask
from ...operators.record import Record
from ..failpoints import hit
from .batch_writer import NOTHING, count_written
from .staging import StagingSession, StagingTarget

__all__ = ["StagedWriter"]


class StagedWriter:
    """Stages batches of one sink in one task, and writes them together, as one epoch."""

    def __init__(self, target: StagingTarget, task: TargetTask, epoch: str) -> None:
        self._target = target
        self._task = task
        self._epoch = epoch
        self._session: StagingSession | None = None
        self._known = False
        """Whether `_position` is that of the target."""
        self._position: int | None = None
        self._end: int | None = None
        """The position behind all records that were taken; None before the first."""
        self._size = 0
        self._since = 0
        """When the first record was staged, in ms."""
        self.staged: int | None = None
        """The offset of the first record that is staged, None if there is none."""
        self.records = 0
        """The number of records that are staged."""

    def write(self, records: Sequence[Record[Any, Any]], position: int, now: int) -> Mapping[int, Exception]:
        """Stage records before a position; return the refused ones, by index.

        If there are any, nothing was staged."""
        session = self._opened()
        taken = self._position if self._end is None else self._end
        there = count_written(records, taken)
        rest = records[there:]
        if rest:
            try:
                self._size = session.stage(rest)
            except RecordsRefused as failure:
                return {there + index: error for index, error in failure.errors.items()}
            if self.staged is None:
                self.staged, self._since = rest[0].offset, now
            self.records += len(rest)
        self._end = max(position, taken or 0)
        return NOTHING

    def wait(self, now: int) -> int | None:
        """Return in how many ms a roll is due, 0 for now and None if nothing is staged."""
        if self.staged is None:
            return None
        roll, age = self._target.roll, now - self._since
        return 0 if roll.due(self._size, age) else max(1, roll.age - age)

    def roll(self) -> None:
        """Write what is staged. Raises what the target raises; it may be repeated."""
        assert self._end is not None, "nothing is staged"
        session, before = self._opened(), self._position
        if not self._known:
            self._position, self._known = session.position(), True
            if self._position is not None and self._position >= self._end:  # the answer was lost
                session.drop()
                self._written()
                return
            if self._position != before:
                raise TargetFenced(f"{self._task} was at {before} in the target and is at {self._position}")
        hit("before-target-write")
        self._known = False
        session.commit(self._end)
        self._position, self._known = self._end, True
        hit("after-target-write")
        self._written()

    def close(self) -> None:
        """Close the session; what is staged is read again by the next owner."""
        if self._session is not None:
            self._session.close()

    def _opened(self) -> StagingSession:
        if self._session is None:
            self._session = self._target.open(self._task, self._epoch)
        if not self._known and self.staged is None:
            self._position, self._known = self._session.position(), True
        return self._session

    def _written(self) -> None:
        self.staged, self._size, self.records = None, 0, 0
