"""The interface of what a stream reads before its topic: rows of files or tables, in pieces.

A source with a history reads a topic that is made for it, before its own: one task reads the pieces of the history in
order and writes their rows there, by key. The last piece says where each partition of the source's own topic begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from ..serdes.base import Serde

__all__ = [
    "History",
    "HistoryEnd",
    "HistoryInput",
    "HistoryReader",
    "HistoryRows",
    "InvalidRow",
    "PackedRows",
    "RowUnpacker",
    "SourceHistory",
    "Until",
]

Until: TypeAlias = "Mapping[int, int] | datetime | None"
"""Where the topic begins after a history: offsets by partition, a moment, or None for the positions in its files."""


@dataclass(frozen=True)
class HistoryInput:
    """The source whose records the rows become."""

    source: str
    """Its name."""
    topic: str
    key: Serde[Any]
    value: Serde[Any]
    own_time: bool
    """Whether the source takes the event time from the value, so that rows need none."""


class HistoryRows(NamedTuple):
    """Rows of a piece, as columns of records; times are in ms since 1970."""

    keys: list[Any]
    values: list[Any]
    timestamps: list[int]


class PackedRows(NamedTuple):
    """Rows of one partition in one record, as `History.unpacker` reads them."""

    partition: int
    number: int
    """How many there are."""
    newest: int
    """The newest of their times."""
    data: bytes


class HistoryEnd(NamedTuple):
    """The end of a history: where each partition of the topic begins, -1 for its beginning."""

    begins: Mapping[int, int]


class InvalidRow(NamedTuple):
    """A row that does not fit the source; the error says which one and why."""

    row: Any
    timestamp: int
    error: Exception


class HistoryReader(ABC):
    """Reads the pieces of a history; belongs to one task."""

    @abstractmethod
    def read(self, piece: bytes) -> Iterator[HistoryRows | PackedRows | InvalidRow | HistoryEnd]:
        """Return what a piece has, in order. Raises an error of the engine if it cannot be read."""


class RowUnpacker(ABC):
    """Makes the rows of packed ones."""

    @abstractmethod
    def unpack(self, data: bytes) -> HistoryRows:
        """Return the rows, with new keys and values."""


class History(ABC):
    """What a stream reads before its topic; `tm.history` makes one of files or a table.

    Example:
        >>> isinstance(tm.history("file:///lake/orders/*.parquet", timestamp="at"), tm.History)
        True
    """

    @abstractmethod
    def reader(self, given: HistoryInput) -> HistoryReader:
        """Return a reader of the pieces; the engine calls it.

        Args:
            given: The source whose records the rows become.

        Example:
            >>> old = tm.history("file:///lake/orders", timestamp="at")
            >>> callable(old.reader)
            True
        """

    @abstractmethod
    def unpacker(self, given: HistoryInput) -> RowUnpacker:
        """Return what makes rows of packed ones; the engine calls it.

        Args:
            given: The source whose records the rows become.

        Example:
            >>> old = tm.history("file:///lake/orders", timestamp="at")
            >>> callable(old.unpacker)
            True
        """


@dataclass(frozen=True)
class SourceHistory:
    """The history of a source in a topology: the node that writes its topic has it."""

    source: int
    """The id of the source."""
    history: History
    until: Until
    given: HistoryInput
