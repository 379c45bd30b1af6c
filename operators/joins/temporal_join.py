"""A stream joined with a table as it was at each record's time, and the table with a history that makes that possible.

The join keeps the table's versions itself. With a grace its records wait in a buffer, in the order of time, then key,
then arrival, until the stream's time passes their time by the grace: until then the table may still learn what it was.
A record that is later than that is joined at once. Time is the largest timestamp of the stream's records that take
part: one that is dropped for want of a key or a value moves nothing.

    encoded key of the buffer: 00 the clock   |   01 + time + key + number
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import length_hint
from struct import Struct
from typing import Any, Final

import msgspec

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..errors import RecordError, cause_of, poison
from ..graph.operator import Operator
from ..record import Record, Update
from ..serdes.auto import auto
from ..serdes.base import Serde, is_exact
from ..serdes.value_copies import with_copies
from ..stores.expiring import CLOCK
from ..stores.versions import REFUSED, Versions

__all__ = ["TemporalJoin", "VersionedRows", "waiting_codec"]

Cache = StateCache[Any, Any]
Records = list[Record[Any, Any]]

CLOCK_KEY, ENTRY = b"\x00", b"\x01"

NEVER: Final = (1 << 63) - 1

_CLOCK = Struct(">qq")
_LENGTH = Struct(">I")


class VersionedRows(Operator):
    """A table with a history. Its changes are those of the newest rows; its other output has every version."""

    def __init__(self, step: str, versions: Versions, *, updates: bool, every_version: bool) -> None:
        self._step = step
        self._versions = versions
        self._updates = updates
        self._every_version = every_version
        self.drops = {"null key": 0, "older than the history": 0}

    def process(self, records: Records, now: int) -> Any:
        versions, updates = self._versions, self._updates
        done: Records = []
        kept: Records = []
        ports = [done, kept] if self._every_version else done
        rest = iter(records)
        try:
            for record in rest:
                key, value = record.key, record.value
                if key is None:
                    self.drops["null key"] += 1
                    continue
                before = versions.newest(key)
                until = versions.put(key, value, record.timestamp)
                if until == REFUSED:
                    self.drops["older than the history"] += 1
                    continue
                kept.append(record)
                if until is None:
                    if updates:
                        old = None if before is None else before.value
                        record = Record(key, Update(old, value), record.timestamp, record.headers, record.offset)
                    done.append(record)
        except Exception as error:
            failure = poison(self._step, records, rest, ports)
            raise failure from cause_of(failure, error)
        return ports

    def advance(self, time: int, offset: int, now: int) -> Any:
        """Moves the time from which the history goes back."""
        if offset >= 0:
            self._versions.move(time)
        return [[], []] if self._every_version else []


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """Where a record waits: equal to no key of a user's."""

    time: int
    key: Any
    number: int


class WaitingFailed(Exception):
    """A record that had waited could not be joined."""

    def __init__(self, record: Record[Any, Any]) -> None:
        super().__init__(record)
        self.record = record


class TemporalJoin(Operator):
    """Joins a stream, input 1, with the versions of a table, input 0."""

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
        """Without a buffer every record is joined at once. When `watermarked` time is told."""
        self._step = step
        self._versions = versions
        self._function = with_copies(function, first=False)
        self._buffer = buffer
        self._left = left
        self._grace = grace
        self._watermarked = watermarked
        self._earliest: int | None = None  # no record waits with an earlier time; None when that is not known
        self._owed: int | None = (
            None  # the offset of the record after which one that had waited failed: others may be due
        )
        self.drops = {"null key": 0, "null value": 0}
        self.misses = 0
        """Records that found no row."""

    def process(self, records: list[tuple[int, Record[Any, Any]]], now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            if self._buffer is None:
                for slot, record in rest:
                    if slot == 0:
                        self._versions.put(record.key, record.value, record.timestamp)
                    elif self._usable(record):
                        self._join(record, done)
            else:
                self._buffered(rest, self._buffer, done)
        except WaitingFailed as failed:
            index = len(records) - length_hint(rest) - 1
            raise RecordError(self._step, index, failed.record, done, doing="join") from failed.__cause__
        except Exception as error:
            failure = poison(self._step, [record for _, record in records], rest, done)
            raise failure from cause_of(failure, error)
        return done

    def _buffered(self, rest: Iterator[tuple[int, Record[Any, Any]]], buffer: Cache, done: Records) -> None:
        began = time, number = buffer[CLOCK] or (-1, 0)
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
                    buffer.put(Waiting(timestamp, record.key, number), (record.value, record.headers))
                    number += 1
                    if self._earliest is not None and timestamp < self._earliest:
                        self._earliest = timestamp
                time = max(time, timestamp) if by_records else time
                self._release(buffer, time - grace, record.offset, done)
        finally:
            if (time, number) != began:
                buffer.put(CLOCK, (time, number))

    def advance(self, time: int, offset: int, now: int) -> Records:
        """Moves stream time. By the wall clock it moves, and is kept, only where a record has waited long enough.

        The history moves on after the records that are joined now, so that they find it as far back as they are.
        """
        buffer, done = self._buffer, list[Record[Any, Any]]()
        if buffer is None:
            if offset >= 0:
                self._versions.move(time)
            return done
        before, number = buffer[CLOCK] or (-1, 0)
        if time > before and (offset >= 0 or self._releases_by(buffer, time - self._grace)):
            buffer.put(CLOCK, (time, number))
            before = time
        try:
            self._release(buffer, before - self._grace, offset, done)
        except WaitingFailed as failed:
            raise RecordError(self._step, -1, failed.record, done, doing="join") from failed.__cause__
        if offset >= 0:
            self._versions.move(time)
        return done

    def _releases_by(self, buffer: Cache, until: int) -> bool:
        first = next((waiting.time for waiting, _ in buffer.scan(ENTRY, None)), NEVER)
        return first <= until

    def _usable(self, record: Record[Any, Any]) -> bool:
        """Whether a record takes part; those that do not are counted."""
        if record.value is None:
            self.drops["null value"] += 1
            return False
        if record.key is None and not self._left:
            self.drops["null key"] += 1
            return False
        return True

    def _release(self, buffer: Cache, until: int, offset: int, done: Records) -> None:
        """Joins the records that have waited long enough."""
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
                raise WaitingFailed(record) from error
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


def waiting_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Any, Any]:
    """A codec for the buffer."""

    def encode_key(slot: Any) -> bytes:
        return CLOCK_KEY if slot is CLOCK else ENTRY + pack(slot.time, key.encode(slot.key), slot.number)

    def decode_key(data: bytes) -> Any:
        if data == CLOCK_KEY:
            return CLOCK
        time, raw, number = unpack(data[1:], int, bytes, int)
        return Waiting(time, key.decode(raw), number)

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

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key))
