"""Pending records: records that wait inside a step, in order of arrival.

They are entries of the step's store, so that a commit covers them: the offset of their source record may be committed
while they wait, and the next owner of the task continues with them. An entry that is removed before a commit is never
written to the store.

    encoded key:   8 bytes, the number of the record
    encoded value: msgpack of (timestamp, offset, key, value, headers), key and value by their serdes
"""

from __future__ import annotations

from struct import Struct
from typing import Any, TypeAlias

import msgspec

from ...state.cache import Codec, StateCache
from ...state.codec import Placement
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..record import Record
from ..serdes.base import Serde

__all__ = ["Pending", "pending_codec", "pending_view"]

Waiting: TypeAlias = Record[Any, Any]


_NUMBER = Struct(">Q")


class _Stored(msgspec.Struct, array_like=True):
    timestamp: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Pending:
    """The waiting records by number; numbers increase and are not reused while the step runs."""

    def __init__(self, cache: StateCache[int, Waiting]) -> None:
        self._cache = cache
        self.records: dict[int, Waiting] = dict(cache.scan(b"", None))
        cache.found(record.key for record in self.records.values())
        self._next = next(reversed(self.records), -1) + 1
        self._oldest: int | None = None  # None: to be computed

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: Waiting) -> int:
        """Add a record and return its number."""
        number = self._next
        self._next += 1
        self.records[number] = record
        self._cache.put(number, record)
        if self._oldest is not None and record.timestamp < self._oldest:
            self._oldest = record.timestamp
        return number

    def remove(self, number: int) -> Waiting:
        """Remove a record and return it."""
        if number in self._cache.dirty:  # an entry is written once, so this one is in no commit yet
            self._cache.withdraw(number)
        else:
            self._cache.delete(number)
        record = self.records.pop(number)
        if record.timestamp == self._oldest:
            self._oldest = None
        return record

    def oldest_waiting(self) -> int | None:
        """Return the event time of the oldest record, None if none waits."""
        if self._oldest is None and self.records:
            self._oldest = min([record.timestamp for record in self.records.values()])
        return self._oldest


def pending_codec(key: Serde[Any], value: Serde[Any]) -> Codec[int, Waiting]:
    """Return the codec of records by number."""
    encoder, decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(_Stored)

    def encode(record: Waiting) -> bytes:
        return encoder.encode(
            _Stored(
                record.timestamp,
                record.offset,
                None if record.key is None else key.encode(record.key),
                None if record.value is None else value.encode(record.value),
                record.headers,
            )
        )

    def decode(data: bytes) -> Waiting:
        stored = decoder.decode(data)
        return Record(
            None if stored.key is None else key.decode(stored.key),
            None if stored.value is None else value.decode(stored.value),
            stored.timestamp,
            stored.headers,
            stored.offset,
        )

    def key_of(raw: bytes, stored: bytes) -> bytes | None:
        return decoder.decode(stored).key or b""

    placement = Placement(key_of, getattr(key, "suffix", 0), numbered=True)
    return Codec(_NUMBER.pack, lambda data: _NUMBER.unpack(data)[0], encode, decode, exact=True, placement=placement)


def pending_view() -> StoreView:
    """Return the view for queries, which shows nothing: the records are in transit."""
    return StoreView(
        visible=lambda _number: False,
        rows=lambda _number, record: (StoreRow(record.key, record.value, record.timestamp),),
    )
