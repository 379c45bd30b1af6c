"""Positions in histories, whose records have many rows each. Pure.

A row is numbered by the offset of its record and its place in it, as one number, so positions ascend as offsets do.
In Kafka, the offset is committed with the place in its metadata (`r=`): see `InputProgress.rows`. Positions in other
inputs are their offsets.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Final

from ...state.topic_partition import TopicPartition
from .watermarks import NOTHING, InputProgress

__all__ = ["MOST_ROWS", "RowPositions", "position_of", "positions_in"]

BITS: Final = 20
MOST_ROWS: Final = 1 << BITS
"""More rows than a record has."""


def position_of(offset: int, row: int = 0) -> int:
    """Return the position of a row of a history."""
    return offset << BITS | row


def positions_in(
    offsets: Mapping[TopicPartition, int], seen: Mapping[TopicPartition, InputProgress]
) -> dict[TopicPartition, int]:
    """Return the positions of inputs by what is committed: their offsets and progress."""
    rows = {key: seen.get(key, NOTHING).rows for key in offsets}
    return {key: at if (row := rows[key]) is None else position_of(at, row) for key, at in offsets.items()}


class RowPositions:
    """The positions of one task."""

    def __init__(self, histories: Container[str]) -> None:
        """Take the topics of the histories that the task reads."""
        self._histories = histories

    def at(self, key: TopicPartition, offset: int) -> int:
        """Return the position of the first row of a record."""
        return position_of(offset) if key[0] in self._histories else offset

    def begun(
        self, offsets: Mapping[TopicPartition, int], seen: Mapping[TopicPartition, InputProgress]
    ) -> dict[TopicPartition, int]:
        """Return the positions at which a task begins."""
        return {
            key: position_of(at, seen.get(key, NOTHING).rows or 0) if key[0] in self._histories else at
            for key, at in offsets.items()
        }

    def offset(self, key: TopicPartition, position: int) -> int:
        """Return the offset of the record at a position."""
        return position >> BITS if key[0] in self._histories else position

    def offsets(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Return the offsets of the records at positions."""
        return {key: self.offset(key, at) for key, at in positions.items()}

    def mark(self, seen: dict[TopicPartition, InputProgress], positions: Mapping[TopicPartition, int]) -> None:
        """Add to the progress of inputs how many rows of a record have been processed."""
        for key, at in positions.items():
            if key[0] in self._histories:
                seen[key] = seen.get(key, NOTHING)._replace(rows=at & (MOST_ROWS - 1))
