"""The values that travel through a program.

`Record` is the only per-record object: operators take lists of them and return lists of them. `Batch` is what a
partition delivered, still as bytes and in columns; `Outgoing` is what a task wants written to a topic, again as bytes.
This file decides their shape and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, NamedTuple, TypeAlias

import msgspec
from typing_extensions import TypeVar

__all__ = ["Batch", "Headers", "Outgoing", "Record", "Row", "SourceRecord", "Update", "Windowed"]

K = TypeVar("K", default=object)
V = TypeVar("V", default=object)

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


class Record(msgspec.Struct, Generic[K, V], frozen=True, gc=False):
    """One event: key, value, event time and headers.

    `timestamp` is the event time in milliseconds since the epoch. `offset` is the offset of the source record that
    caused this one (-1 when none did, as for a wall-clock timer): results of one input batch that come by different
    ways are put back in order by it.
    """

    key: K
    value: V
    timestamp: int
    headers: Headers = ()
    offset: int = -1


class SourceRecord(Record[K, V], Generic[K, V], frozen=True, gc=False):
    """A record as it is in Kafka, with its place there: what a timestamp function made by `tm.from_record` gets.

    `timestamp` is Kafka's. `key` and `value` are decoded.
    """

    topic: str = ""
    partition: int = -1


class Windowed(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """A key in a window: `start` and `end` in milliseconds.

    The end is exclusive for tumbling and hopping windows, and inclusive for sliding and session windows, as in Kafka
    Streams.
    """

    key: K
    start: int
    end: int


class Update(msgspec.Struct, Generic[V], frozen=True, gc=False):
    """The value of a table's record where a step downstream needs to know what the row was before; None is no row."""

    old: V | None
    new: V | None


class Batch(NamedTuple):
    """Consecutive records of one partition as they came from Kafka, in columns."""

    topic: str
    partition: int
    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    offsets: list[int]
    headers: list[Headers] | None
    size: int
    """Bytes of keys, values and headers together."""

    def after(self, index: int) -> Batch | None:
        """The part that follows a record, None when nothing does."""
        start = index + 1
        if start >= len(self.offsets):
            return None
        headers = None if self.headers is None else self.headers[start:]
        return self._replace(
            keys=self.keys[start:],
            values=self.values[start:],
            timestamps=self.timestamps[start:],
            offsets=self.offsets[start:],
            headers=headers,
        )


Row: TypeAlias = tuple["bytes | None", "bytes | None", int, "list[tuple[str, bytes | None]] | None", "int | bytes"]
"""Key, value, timestamp, headers and partition of a record to write.

The partition is a number, -1 to let the key decide, or the bytes to hash in place of the key.
"""


class Outgoing(NamedTuple):
    """Records to write to one topic, in order."""

    topic: str
    rows: list[Row]
    records: Sequence[Record[Any, Any]] = ()
    """What each row was made of, where that is known."""
    step: str = ""
    """The step that writes them."""
