"""One owner's writes to a target, without what is there already.

    no session --open--> position unknown --position--> position known --write--> position known
                              ^                               |
                              '------ any failure ------------'

The position is asked for after every failure, so a write whose outcome is unknown is neither lost nor repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from ...operators.graph.target import RecordsRefused, Target, TargetSession, TargetTask
from ...operators.record import Record
from ..failpoints import hit

__all__ = ["BatchWriter", "count_written"]

NOTHING: Final[Mapping[int, Exception]] = {}


def count_written(records: Sequence[Record[Any, Any]], position: int | None) -> int:
    """Return the number of records, in order of offset, that a target with this position has."""
    if position is None:
        return 0
    return next((index for index, record in enumerate(records) if record.offset >= position), len(records))


class BatchWriter:
    """Writes batches of one sink in one task, as one epoch."""

    def __init__(self, target: Target, task: TargetTask, epoch: str) -> None:
        self._target = target
        self._task = task
        self._epoch = epoch
        self._session: TargetSession | None = None
        self._known = False
        """Whether `_position` is that of the target."""
        self._position: int | None = None

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> Mapping[int, Exception]:
        """Write records and the position behind them; return the refused ones, by index.

        If there are any, nothing was written. Raises what the target raises; the same write may be repeated.
        """
        if self._session is None:
            self._session = self._target.open(self._task, self._epoch)
        if not self._known:
            self._position = self._session.position()
            self._known = True
        if self._position is not None and self._position >= position:
            return NOTHING
        there = count_written(records, self._position)
        hit("before-target-write")
        self._known = False
        try:
            self._session.write(records[there:], position)
        except RecordsRefused as failure:
            return {there + index: error for index, error in failure.errors.items()}
        self._position, self._known = position, True
        hit("after-target-write")
        return NOTHING

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            self._session.close()
