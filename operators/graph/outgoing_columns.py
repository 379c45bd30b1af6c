"""Rows in columns: what a sink hands to the producer, without an object per row.

The producer passes the columns to its client as they are. For other code, such as the search for a row that a broker
rejects, they are a sequence of rows, which are made when they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, overload

from ..record import Row

__all__ = ["OutgoingColumns"]


class OutgoingColumns(Sequence[Row]):
    """Rows, in order: keys, values, timestamps, headers and partitions.

    Without headers, no row has any; without partitions, keys decide.
    """

    __slots__ = ("headers", "keys", "partitions", "times", "values")

    def __init__(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        times: Sequence[int],
        headers: Sequence[Any] | None = None,
        partitions: Sequence[int | bytes] | None = None,
    ) -> None:
        self.keys, self.values, self.times = keys, values, times
        self.headers, self.partitions = headers, partitions

    @staticmethod
    def of(rows: Sequence[Row]) -> OutgoingColumns:
        """Return rows in columns."""
        if isinstance(rows, OutgoingColumns):
            return rows
        return OutgoingColumns(*zip(*rows, strict=True)) if rows else OutgoingColumns((), (), ())

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        headers = None if self.headers is None else self.headers[index]
        partition = -1 if self.partitions is None else self.partitions[index]
        return self.keys[index], self.values[index], self.times[index], headers, partition

    def __iter__(self) -> Any:
        headers: Iterable[Any] = repeat(None) if self.headers is None else self.headers
        partitions: Iterable[int | bytes] = repeat(-1) if self.partitions is None else self.partitions
        return zip(self.keys, self.values, self.times, headers, partitions, strict=False)
