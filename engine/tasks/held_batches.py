"""Batches that cannot be decoded yet, such as those with a schema that is not there.

They wait in the order of their offsets, with what comes after them in their partitions, and are tried again from time
to time. Their bytes count for flow control.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ...operators.record import Batch
from ...state.topic_partition import TopicPartition

__all__ = ["HeldBatches"]

PAUSE_MS: Final = 200


class HeldBatches:
    """The batches that wait, by partition."""

    def __init__(self) -> None:
        self._batches: dict[TopicPartition, list[Batch]] = {}
        self._ends: dict[TopicPartition, int] = {}
        self._tried = 0

    def __len__(self) -> int:
        return len(self._batches)

    def holds(self, key: TopicPartition) -> bool:
        """Return whether a partition has batches that wait."""
        return key in self._batches

    def hold(self, batch: Batch) -> None:
        """Add a batch behind those of its partition."""
        self._batches.setdefault((batch.topic, batch.partition), []).append(batch)

    def ended(self, key: TopicPartition, end: int) -> bool:
        """Note that a partition was read up to its end; return whether batches of it wait."""
        if key not in self._batches:
            return False
        self._ends[key] = end
        return True

    def due(self, now: int) -> bool:
        """Return whether to try again; `now` is in ms."""
        if not self._batches or now - self._tried < PAUSE_MS:
            return False
        self._tried = now
        return True

    def partitions(self) -> list[TopicPartition]:
        """Return the partitions with batches that wait."""
        return list(self._batches)

    def take(self, key: TopicPartition) -> list[Batch]:
        """Remove and return the batches of a partition."""
        return self._batches.pop(key)

    def passed(self, key: TopicPartition) -> int | None:
        """Return the end up to which a partition was read, once nothing of it waits any more."""
        return None if key in self._batches else self._ends.pop(key, None)

    def sizes(self) -> dict[TopicPartition, int]:
        """Return the bytes that wait, by partition."""
        return {key: sum(batch.size for batch in batches) for key, batches in self._batches.items()}

    def forget(self, keys: Iterable[TopicPartition]) -> None:
        """Drop the batches of partitions that are read again, or by others."""
        for key in keys:
            self._batches.pop(key, None)
            self._ends.pop(key, None)
