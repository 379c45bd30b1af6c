"""Where bytes become records and records bytes: decoding sources, writing sinks and repartition topics.

Columns are decoded and encoded whole. When that fails the batch is done again one record at a time, which finds the
record to blame and keeps what came before it. A source drops records with a negative event time, as Kafka Streams does,
or gives them the newest of their partition so far; a repartition drops records without a key. Which topic a repartition
writes is the planner's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any, Final

from ...state.key_equality import all_plain
from ..errors import RecordError
from ..record import Batch, Headers, Outgoing, Record, Row, SourceRecord, Update
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, column_decoder, column_encoder, is_exact
from ..serdes.updates import UpdateSerde, told
from ..time.event_time import (
    LATEST,
    SECONDS,
    AheadOfClock,
    FromRecord,
    TimeFunction,
    check_ahead,
    check_times,
    in_seconds,
    milliseconds,
)
from .operator import Operator
from .output_checks import given_headers, given_partition, given_topic
from .topology import Repartition, Source

__all__ = ["Decoder", "Encoder", "Records", "RepartitionWriter", "SinkWriter", "decoder"]

Records = list[Record[Any, Any]]

NO_HEADERS: Final[Headers] = ()


class Decoder:
    """Reads one topic's batches."""

    def __init__(
        self,
        step: str,
        key: Serde[Any],
        value: Serde[Any],
        timestamp: TimeFunction | None = None,
        *,
        partition_time: bool = False,
        max_ahead: int | None = None,
    ) -> None:
        self._step = step
        self._keys = column_decoder(key)
        self._values = column_decoder(value)
        self._timestamp = timestamp
        self._max_ahead = max_ahead
        self._exact = is_exact(key)
        self.odd_keys = False
        """True once there was a key that equals others in Python which are written otherwise."""
        self.newest: int | None = -1 if partition_time else None
        """The newest event time read so far, -1 for none, where records without a valid one get it; None elsewhere."""
        self.drops = {"negative timestamp": 0}
        self.doubt: str | None = None
        """What is to be said of a time that looks as if it were in another unit, of the first such time."""

    def decode(self, batch: Batch, now: int) -> Records:
        """The records of a batch; RecordError for the first that cannot be taken, its index being that in the batch.

        `now` is the wall clock's time.
        """
        try:
            return self._decode(batch, now)
        except Exception:
            return self._one_by_one(batch, now)

    def _decode(self, batch: Batch, now: int) -> Records:
        keys, values = self._keys(batch.keys), self._values(batch.values)
        if not (self._exact or self.odd_keys or all_plain(keys)):
            self.odd_keys = True
        headers: Iterable[Headers] = repeat(NO_HEADERS) if batch.headers is None else batch.headers
        times = batch.timestamps
        if self._timestamp is not None:
            times = self._times(self._timestamp, batch, keys, values, headers)
        check_times(times)
        newest, most = self.newest, self._max_ahead
        if newest is not None:
            latest = LATEST if most is None else now + most
            times = list(times)
            for place, time in enumerate(times):
                if time < 0 or (time > latest and newest >= 0):
                    times[place] = newest
                elif time > newest:
                    newest = time
        if most is not None:
            check_ahead(times, now, most)
        records = list(map(Record, keys, values, times, headers, batch.offsets))
        self.newest = newest
        if times and (oldest := min(times)) < SECONDS.stop:
            if self.doubt is None:
                self.doubt = in_seconds(oldest, self._whose)
            if oldest < 0:
                kept = [record for record in records if record.timestamp >= 0]
                self.drops["negative timestamp"] += len(records) - len(kept)
                return kept
        return records

    @staticmethod
    def _times(
        function: TimeFunction, batch: Batch, keys: list[Any], values: list[Any], headers: Iterable[Headers]
    ) -> list[int]:
        """What a timestamp function gives for the records of a batch."""
        times: list[Any]
        if isinstance(function, FromRecord):
            of, topic, partition = function.function, batch.topic, batch.partition
            columns = zip(keys, values, batch.timestamps, headers, batch.offsets, strict=False)
            times = [of(SourceRecord(*column, topic, partition)) for column in columns]
        else:
            times = list(map(function, values))
        if set(map(type, times)) != {int}:
            times = [milliseconds(time) for time in times]
        return times

    @property
    def _whose(self) -> str:
        return "Kafka's timestamp of a record is" if self._timestamp is None else "the timestamp function gave"

    def _one_by_one(self, batch: Batch, now: int) -> Records:
        done: Records = []
        columns = zip(
            batch.keys,
            batch.values,
            batch.timestamps,
            batch.offsets,
            repeat(NO_HEADERS) if batch.headers is None else batch.headers,
            strict=False,
        )
        for place, (key, value, timestamp, offset, headers) in enumerate(columns):
            single = Batch(batch.topic, batch.partition, [key], [value], [timestamp], [offset], [headers], 0)
            try:
                done += self._decode(single, now)
            except Exception as error:
                poison = Record(key, value, timestamp, headers, offset)
                ahead = isinstance(error, AheadOfClock)
                doing, counted = ("take", "ahead of the clock") if ahead else ("decode", "undecodable")
                raise RecordError(self._step, place, poison, done, doing=doing, counted=counted) from error
        return done


def decoder(node: Source | Repartition) -> Decoder:
    """The reading half of a source or a repartition."""
    key, value = node.key or auto_key, node.value or auto
    if not isinstance(node, Source):
        return Decoder(node.name, key, value)
    ahead = None if node.watermark is None else node.watermark.max_ahead
    return Decoder(node.name, key, value, node.timestamp, partition_time=node.partition_time, max_ahead=ahead)


class Encoder:
    """Turns records into rows."""

    def __init__(
        self,
        key: Serde[Any],
        value: Serde[Any],
        *,
        hashed: Callable[[Any], bytes] | None = None,
        partition: Callable[[Record[Any, Any]], int] | None = None,
        headers: Callable[[Record[Any, Any]], Any] | None = None,
    ) -> None:
        """`hashed` gives the bytes that choose the partition when those are not the key's; `partition` chooses it."""
        self._keys = column_encoder(key)
        self._values = column_encoder(value)
        self._value = value
        self._hashed = hashed
        self._partition = partition
        self._headers = headers

    def writable(self, update: Update[Any]) -> tuple[Update[Any], Exception | None]:
        """The part of an update that can be encoded, and why its new row cannot, if that is so."""
        row: Serde[Any] = self._value.row if isinstance(self._value, UpdateSerde) else self._value
        old = None if told(row.encode, update.old) is None else update.old
        try:
            if update.new is not None:
                row.encode(update.new)
        except Exception as error:
            return Update(old, None), error
        return Update(old, update.new), None

    def rows(self, records: Records) -> list[Row]:
        """One row a record."""
        keys = self._keys([record.key for record in records])
        values = self._values([record.value for record in records])
        headers: Iterable[list[tuple[str, bytes | None]] | None]
        if self._headers is not None:
            headers = [given_headers(self._headers(record) or ()) or None for record in records]
        else:
            headers = [list(record.headers) if record.headers else None for record in records]
        partitions: Iterable[int | bytes] = repeat(-1)
        if self._partition is not None:
            partitions = [given_partition(self._partition(record)) for record in records]
        elif self._hashed is not None:
            hashed = self._hashed
            partitions = [-1 if record.key is None else hashed(record.key) for record in records]
        return list(zip(keys, values, [record.timestamp for record in records], headers, partitions, strict=False))


class SinkWriter(Operator):
    """Writes one topic, or the topic that a function chooses for each record."""

    def __init__(self, step: str, topic: str | Callable[[Record[Any, Any]], str], encoder: Encoder) -> None:
        self._step = step
        self._topic = topic
        self._encoder = encoder

    def process(self, records: Records, now: int) -> list[Outgoing]:
        try:
            return self._write(records)
        except Exception:
            return one_by_one(self._step, records, lambda record, done: done.extend(self._write([record])))

    def _write(self, records: Records) -> list[Outgoing]:
        topic = self._topic
        if isinstance(topic, str):
            return [Outgoing(topic, self._encoder.rows(records), records)]
        groups: dict[str, Records] = {}
        for record in records:
            groups.setdefault(given_topic(topic(record)), []).append(record)
        return [Outgoing(name, self._encoder.rows(group), group) for name, group in groups.items()]


class RepartitionWriter(Operator):
    """Writes the internal topic; with `by`, under the key that the function gives for the value.

    Records without a key are dropped and counted, or with `null_keys` written to any partition.
    """

    def __init__(
        self, step: str, encoder: Encoder, by: Callable[[Any], Any] | None, *, null_keys: bool = False
    ) -> None:
        self._step = step
        self._encoder = encoder
        self._by = by
        self._null_keys = null_keys
        self.drops = {"null key": 0}

    def process(self, records: Records, now: int) -> list[Outgoing]:
        try:
            return self._write(records)
        except Exception:
            return one_by_one(self._step, records, self._write_alone)

    def _write_alone(self, record: Record[Any, Any], done: list[Outgoing]) -> None:
        """Writes a record; of a change to a row that cannot be written, that the row before is gone."""
        value: Any = record.value
        if value.__class__ is not Update:
            done += self._write([record])
            return
        update, failure = self._encoder.writable(value)
        if update.old is not None or update.new is not None:
            done += self._write([Record(record.key, update, record.timestamp, record.headers, record.offset)])
        if failure is not None:
            raise failure

    def _write(self, records: Records) -> list[Outgoing]:
        by = self._by
        if by is not None:
            keyed = [Record(by(r.value), r.value, r.timestamp, r.headers, r.offset) for r in records]
        else:
            keyed = records
        kept = keyed if self._null_keys else [record for record in keyed if record.key is not None]
        rows = self._encoder.rows(kept)
        self.drops["null key"] += len(keyed) - len(kept)
        return [Outgoing("", rows, kept)] if rows else []


def one_by_one(
    step: str, records: Records, write: Callable[[Record[Any, Any], list[Outgoing]], None]
) -> list[Outgoing]:
    """Writes each record alone, to find the one that fails; `write` adds to the list what can be written of it."""
    done: list[Outgoing] = []
    for place, record in enumerate(records):
        try:
            write(record, done)
        except Exception as error:
            raise RecordError(step, place, record, done, doing="write") from error
    return done
