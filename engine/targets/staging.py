"""Targets that write many batches at once: files, and commits of table formats.

Each write of such a target costs a file or a commit, and readers want few and large ones. So its session stages the
records of a batch, which is quick and not durable, and everything that was staged is written together with the position
behind it when it is large or old enough.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...operators.graph.target import Target, TargetSession, TargetTask
from ...operators.record import Record

__all__ = ["Roll", "StagingSession", "StagingTarget"]


@dataclass(frozen=True)
class Roll:
    """When what was staged is written."""

    age: int
    """In ms after the first record was staged."""
    size: int
    """Bytes in memory format."""

    def due(self, size: int, staged_for: int) -> bool:
        """Return whether to write so many bytes, the first of them staged so many ms ago."""
        return size >= self.size or staged_for >= self.age


class StagingSession(TargetSession):
    """One owner's access to a target that stages records."""

    @abstractmethod
    def stage(self, records: Sequence[Record[Any, Any]]) -> int:
        """Add records to those that `commit` writes; return the bytes of all that are staged.

        Raises RecordsRefused, and keeps none of `records` then.
        """

    @abstractmethod
    def commit(self, position: int) -> None:
        """Write all that is staged and the position behind it, all or nothing.

        If this fails, it stays staged. Raises as `TargetSession.write` does, but no RecordsRefused.
        """

    @abstractmethod
    def drop(self) -> None:
        """Forget what is staged."""

    def write(self, records: Sequence[Record[Any, Any]], position: int) -> None:
        self.stage(records)
        self.commit(position)


class StagingTarget(Target):
    """A target whose sessions stage records."""

    roll: Roll
    """When they are written."""

    @abstractmethod
    def open(self, task: TargetTask, epoch: str) -> StagingSession: ...
