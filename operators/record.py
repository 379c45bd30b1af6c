"""The values that pass through a program.

`Record` is the only per-record object: operators take lists of them and return lists of them. `Batch` is what a
partition delivered, still as bytes and in columns; `Outgoing` is what a task writes to a topic, again as bytes. This
module only defines these types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any, Generic, NamedTuple, TypeAlias, overload

import msgspec
from typing_extensions import TypeVar

__all__ = ["Batch", "Headers", "Outgoing", "OutgoingColumns", "Record", "Row", "SourceRecord", "Update", "Windowed"]

K = TypeVar("K", default=object)
V = TypeVar("V", default=object)

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


class Record(msgspec.Struct, Generic[K, V], frozen=True, gc=False):
    """One event: key, value, event time and headers.

    Args:
        key: The key; None for a record without one.
        value: The value; None deletes a row where the record belongs to a table.
        timestamp: Event time, in milliseconds since 1970.
        headers: Pairs of a name and bytes, or None.
        offset: The offset of the source record that caused this one; -1 if none did, as for a wall-clock timer.
            It orders results of one input batch that took different paths in the topology.

    Example:
        >>> tm.Record(key="ann", value={"item": "pen"}, timestamp=1_700_000_000_000)
        Record(key='ann', value={'item': 'pen'}, timestamp=1700000000000, headers=(), offset=-1)
    """

    key: K
    value: V
    timestamp: int
    headers: Headers = ()
    offset: int = -1


class SourceRecord(Record[K, V], Generic[K, V], frozen=True, gc=False):
    """A record with its place in Kafka: the argument of a `tm.from_record` function of a source.

    Key and value are decoded; the timestamp is Kafka's.

    Example:
        >>> by_arrival = tm.from_record(lambda record: record.timestamp + record.partition)
        >>> clicks = app.stream("clicks", value=tm.json, timestamp=by_arrival)
    """

    topic: str = ""
    partition: int = -1


class Windowed(msgspec.Struct, Generic[K], frozen=True, gc=False):
    """A key in a window.

    Args:
        key: The key within the window.
        start: The start of the window, in milliseconds since 1970.
        end: Its end: exclusive for tumbling, hopping and calendar windows, inclusive for sliding and session windows,
            as in Kafka Streams.

    Example:
        >>> hours = orders.group_by_key().window(tm.tumbling("1h")).count().named("hours")
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     driver.send("orders", key="ann", value={"item": "pen"}, timestamp=1)
        ...     driver.store("hours").get(tm.Windowed("ann", 0, 3_600_000))
        1
    """

    key: K
    start: int
    end: int


class Update(msgspec.Struct, Generic[V], frozen=True, gc=False):
    """The value of a table's record if a step downstream needs the old row; None is no row."""

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
    """The total number of bytes of keys, values and headers."""
    made: bool = False
    """Whether keys and values are objects already, and no bytes: those of packed rows are."""

    def before(self, index: int) -> Batch | None:
        """Return the part before a record, itself if that is all, None if it is empty."""
        if index >= len(self.offsets):
            return self
        headers = None if self.headers is None else self.headers[:index]
        return (
            None
            if index == 0
            else self._replace(
                keys=self.keys[:index],
                values=self.values[:index],
                timestamps=self.timestamps[:index],
                offsets=self.offsets[:index],
                headers=headers,
            )
        )

    def after(self, index: int) -> Batch | None:
        """Return the part after a record, None if it is empty."""
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
    rows: Sequence[Row]
    records: Sequence[Record[Any, Any]] = ()
    """The record of each row, if known."""
    step: str = ""
    """The step that writes them."""


class OutgoingColumns(Sequence[Row]):
    """Rows in columns, in order: keys, values, timestamps, headers and partitions.

    The producer passes the columns to its client as they are; for other code they are a sequence of rows, which are
    made when they are read.

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
