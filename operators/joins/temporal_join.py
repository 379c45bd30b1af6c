"""The temporal join: each record of a stream with the row of a table at the record's time.

The join stores the versions of the table itself. With a grace, records are buffered, in the order of time, key and
arrival, until stream time passes their time by the grace: until then versions of the table may still arrive. A record
that is late by more than that is joined at once. Stream time is the largest timestamp of the stream's records; a record
that is dropped for its null key or null value does not move it.

    encoded key of the buffer: 00 stream time   |   01 + time + key + number
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Final

import msgspec

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..errors import DeferredError, raise_record_error
from ..graph.record_loop import RecordLoop, Records
from ..record import Record, Update
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..serdes.value_copies import with_copies
from ..stores.expiring import STREAM_TIME
from ..stores.placements import each_newest, placed
from ..stores.versions import REFUSED, Versions

__all__ = ["BufferedKey", "TemporalJoin", "VersionedRows", "buffered_codec"]

Cache = StateCache[Any, Any]

CLOCK_KEY, ENTRY = b"\x00", b"\x01"

NEVER: Final = (1 << 63) - 1

_CLOCK = Struct(">qq")
_LENGTH = Struct(">I")


class VersionedRows(RecordLoop):
    """A versioned table: port 0 sends changes of the newest rows, port 1 sends every version."""

    def __init__(self, step: str, versions: Versions, *, updates: bool, every_version: bool) -> None:
        super().__init__(step)
        self._versions = versions
        self._updates = updates
        self._every_version = every_version
        self.drops = {"null key": 0, "older than the history": 0}

    def _no_results(self) -> Any:
        return [[], []] if self._every_version else []

    def _run(self, records: Iterator[Record[Any, Any]], done: Any) -> None:
        versions, updates = self._versions, self._updates
        rows: Records
        kept: Records | None
        rows, kept = done if self._every_version else (done, None)
        for record in records:
            key, value = record.key, record.value
            if key is None:
                self.drops["null key"] += 1
                continue
            before = versions.newest(key)
            until = versions.put(key, value, record.timestamp)
            if until == REFUSED:
                self.drops["older than the history"] += 1
                continue
            if kept is not None:
                kept.append(record)
            if until is None:
                if updates:
                    old = None if before is None else before.value
                    record = Record(key, Update(old, value), record.timestamp, record.headers, record.offset)
                rows.append(record)

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Move the time that the history is relative to."""
        if offset >= 0:
            self._versions.move(time)
        return [[], []] if self._every_version else []


class BufferedKey(msgspec.Struct, frozen=True, gc=False):
    """The cache key of a buffered record, equal to no key of a record."""

    time: int
    key: Any
    number: int


class TemporalJoin(RecordLoop):
    """A join of a stream (input 1) with the versions of a table (input 0)."""

    def __init__(
        self,
        step: str,
        versions: Versions,
        function: Callable[[Any, Any], Any],
        buffer: Cache | None = None,
        *,
        left: bool,
        grace: int = 0,
        watermarked: bool,
    ) -> None:
        """Join records at once if there is no buffer; `watermarked`: time moves by watermarks only."""
        super().__init__(step)
        self._versions = versions
        self._function = with_copies(function, first=False)
        self._buffer = buffer
        self._left = left
        self._grace = grace
        self._watermarked = watermarked
        self._earliest: int | None = None  # no buffered record has an earlier time; None if unknown
        self._owed: int | None = None
        """The offset of the record after which a buffered record failed: more may be due."""
        self.drops = {"null key": 0, "null value": 0}
        self.misses = 0
        """Records without a row."""

    def _run(self, records: Iterator[tuple[int, Record[Any, Any]]], done: Records) -> None:
        if self._buffer is not None:
            self._buffered(records, self._buffer, done)
            return
        for slot, record in records:
            if slot == 0:
                self._versions.put(record.key, record.value, record.timestamp)
            elif self._usable(record):
                self._join(record, done)

    def _buffered(self, rest: Iterator[tuple[int, Record[Any, Any]]], buffer: Cache, done: Records) -> None:
        began = time, number = buffer[STREAM_TIME] or (-1, 0)
        grace, by_records = self._grace, not self._watermarked
        try:
            if self._owed is not None:
                self._release(buffer, time - grace, self._owed, done)
            for slot, record in rest:
                timestamp = record.timestamp
                if slot == 0:
                    self._versions.put(record.key, record.value, timestamp)
                    continue
                if not self._usable(record):
                    continue
                if timestamp < time - grace or record.key is None:
                    self._join(record, done)
                else:
                    buffer.put(BufferedKey(timestamp, record.key, number), (record.value, record.headers))
                    number += 1
                    if self._earliest is not None and timestamp < self._earliest:
                        self._earliest = timestamp
                time = max(time, timestamp) if by_records else time
                self._release(buffer, time - grace, record.offset, done)
        finally:
            if (time, number) != began:
                buffer.put(STREAM_TIME, (time, number))

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Move stream time, and join the records that are due; by the wall clock only if one is.

        The history moves after these records are joined, so that it still covers their times.
        """
        buffer, done = self._buffer, list[Record[Any, Any]]()
        if buffer is None:
            if offset >= 0:
                self._versions.move(time)
            return done
        before, number = buffer[STREAM_TIME] or (-1, 0)
        if time > before and (offset >= 0 or self._releases_by(buffer, time - self._grace)):
            buffer.put(STREAM_TIME, (time, number))
            before = time
        try:
            self._release(buffer, before - self._grace, offset, done)
        except DeferredError as error:
            raise_record_error(error, self._step, done)
        if offset >= 0:
            self._versions.move(time)
        return done

    def _releases_by(self, buffer: Cache, until: int) -> bool:
        first = next((waiting.time for waiting, _ in buffer.scan(ENTRY, None)), NEVER)
        return first <= until

    def _usable(self, record: Record[Any, Any]) -> bool:
        """Return whether a record can be joined; count it as dropped if not."""
        if record.value is None:
            self.drops["null value"] += 1
            return False
        if record.key is None and not self._left:
            self.drops["null key"] += 1
            return False
        return True

    def _release(self, buffer: Cache, until: int, offset: int, done: Records) -> None:
        """Join the records that have waited for the grace."""
        if self._earliest is not None and until < self._earliest:
            return
        self._owed = offset
        for waiting, (value, headers) in buffer.scan(ENTRY, None):
            if waiting.time > until:
                self._earliest = waiting.time
                break
            buffer.delete(waiting)
            record = Record(waiting.key, value, waiting.time, headers, offset)
            try:
                self._join(record, done)
            except Exception as error:
                self._earliest = None
                raise DeferredError(record, "join") from error
        else:
            self._earliest = NEVER
        self._owed = None

    def _join(self, record: Record[Any, Any], done: Records) -> None:
        key = record.key
        version = None if key is None else self._versions.as_of(key, record.timestamp)
        if version is None:
            self.misses += 1
        if version is not None or self._left:
            value = self._function(record.value, None if version is None else version.value)
            done.append(Record(key, value, record.timestamp, record.headers, record.offset))


def buffered_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of the buffer."""

    def encode_key(slot: Any) -> bytes:
        return CLOCK_KEY if slot is STREAM_TIME else ENTRY + pack(slot.time, key.encode(slot.key), slot.number)

    def decode_key(data: bytes) -> Any:
        if data == CLOCK_KEY:
            return STREAM_TIME
        time, raw, number = unpack(data[1:], int, bytes, int)
        return BufferedKey(time, key.decode(raw), number)

    def encode_value(entry: Any) -> bytes:
        first, second = entry
        if first.__class__ is int and second.__class__ is int:
            return b"\x00" + _CLOCK.pack(first, second)
        headers = auto.encode(second) if second else b""
        return b"\x01" + _LENGTH.pack(len(headers)) + headers + value.encode(first)

    def decode_value(data: bytes) -> Any:
        if data[:1] == b"\x00":
            return _CLOCK.unpack_from(data, 1)
        end = 5 + _LENGTH.unpack_from(data, 1)[0]
        return value.decode(data[end:]), auto.decode(data[5:end]) if end > 5 else ()

    def key_of(data: bytes) -> bytes | None:
        return None if data == CLOCK_KEY else unpack(data[1:], int, bytes, int)[1]

    placement = placed(key, key_of, each_newest)
    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key), placement=placement)
