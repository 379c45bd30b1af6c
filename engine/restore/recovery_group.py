"""The interface of the group to recovery: fencing, committed offsets, orphaned transactions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

from ...state.topic_partition import TopicPartition
from ..ids import TaskId

__all__ = ["Chains", "RecoveryGroup"]

Chains = Mapping[TaskId, tuple[str, ...]]
"""Former owners by task."""


class RecoveryGroup(Protocol):
    """The operations of the group that recovery uses."""

    def fence(self, tasks: Iterable[TaskId]) -> Future[Chains]: ...

    def opened(self, fenced: Chains) -> None: ...

    def fetch_offsets(
        self, partitions: Iterable[TopicPartition], timeout: float = ...
    ) -> Mapping[TopicPartition, tuple[int, str] | None]: ...

    def fence_orphans(self) -> Sequence[str]: ...

    @property
    def generation(self) -> int: ...
