"""Results in columns: what a fold hands to a sink, without an object per record.

A step whose results only one sink reads may return `ResultColumns` in place of a list. The sink encodes the columns as
they are. For other code, such as the report of a record that cannot be written, they are a sequence of records, which
are made when they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

from ..record import Record, Windowed

__all__ = ["ResultColumns"]


class ResultColumns(Sequence[Record[Any, Any]]):
    """Results, in order: keys, values, event times, and the records that caused them.

    Those of windows have the key in the window and, in `starts`, the beginning of the window; `end` is a function from
    that to its end.
    """

    __slots__ = ("causes", "end", "keys", "starts", "times", "values")

    def __init__(self, end: Callable[[int], int] | None = None) -> None:
        self.keys: list[Any] = []
        self.starts: list[int] = []
        self.values: list[Any] = []
        self.times: list[int] = []
        self.causes: list[Record[Any, Any]] = []
        self.end = end

    @property
    def adding(self) -> tuple[Callable[[Any], None], ...]:
        """The functions that add a result: key, start of its window (if any), value, time, cause."""
        starts = () if self.end is None else (self.starts,)
        return tuple(column.append for column in (self.keys, *starts, self.values, self.times, self.causes))

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Record[Any, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record[Any, Any]]: ...
    def __getitem__(self, index: int | slice) -> Record[Any, Any] | list[Record[Any, Any]]:
        if isinstance(index, slice):
            return [self._record(place) for place in range(len(self))[index]]
        return self._record(index)

    def __add__(self, others: Sequence[Record[Any, Any]]) -> list[Record[Any, Any]]:
        return [*self, *others]

    def __radd__(self, others: list[Record[Any, Any]]) -> list[Record[Any, Any]]:
        return [*others, *self]

    def _record(self, place: int) -> Record[Any, Any]:
        key, cause = self.keys[place], self.causes[place]
        if self.end is not None:
            start = self.starts[place]
            key = Windowed(key, start, self.end(start))
        return Record(key, self.values[place], self.times[place], cause.headers, cause.offset)
