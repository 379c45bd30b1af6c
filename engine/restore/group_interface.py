"""What recovery asks the group: who had a task before, what is committed, whose transactions are still open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from ..ids import TaskId

__all__ = ["Chains", "Group"]

Key = tuple[str, int]
Chains = Mapping[TaskId, tuple[str, ...]]
"""Former owners by task."""


class Group(Protocol):
    """What recovery asks the group."""

    def fence(self, tasks: Iterable[TaskId]) -> Future[Chains]: ...

    def opened(self, fenced: Chains) -> None: ...

    def fetch_offsets(
        self, partitions: Iterable[Key], timeout: float = ...
    ) -> Mapping[Key, tuple[int, str] | None]: ...

    def sweep(self) -> Sequence[str]: ...

    @property
    def generation(self) -> int: ...
