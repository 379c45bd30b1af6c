"""The boundaries of a topology: decoders of sources, encoders of sinks and repartitions.

Columns are decoded and encoded as a whole. If that fails, the batch is processed again one record at a time, which
finds the failed record and keeps the records before it. A source drops records with a negative event time, as Kafka
Streams does, or gives them the newest time of their partition so far; a repartition drops records without a key. The
planner decides the topic of a repartition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, Final

from ...state.key_equality import all_plain
from ..errors import RecordError, Retryable
from ..record import Batch, Headers, Outgoing, OutgoingColumns, Record, SourceRecord, Update
from ..serdes.auto import auto, auto_key
from ..serdes.base import Serde, column_decoder, column_encoder, is_exact
from ..serdes.updates import UpdateSerde, old_result
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
from .column_rows import ColumnRows
from .combined import CombinedSerde, refuse_combined
from .operator import Operator
from .output_checks import given_headers, given_partition, given_topic
from .result_columns import ResultColumns
from .topology import Repartition, Source

__all__ = ["Decoder", "Encoder", "Records", "RepartitionWriter", "SinkWriter", "decoder"]

Records = list[Record[Any, Any]]

NO_HEADERS: Final[Headers] = ()


class Decoder:
    """The decoder of one topic's batches."""

    def __init__(
        self,
        step: str,
        key: Serde[Any],
        value: Serde[Any],
        timestamp: TimeFunction | None = None,
        *,
        partition_time: bool = False,
        max_ahead: int | None = None,
        internal: bool = False,
    ) -> None:
        """Set up the columns; `internal` tells that the topic is that of a repartition."""
        self._step = step
        self._keys = column_decoder(key)
        self._values = column_decoder(value)
        self._by_headers = any(hasattr(serde, "decode_with_headers") for serde in (key, value))
        self._serdes: tuple[Any, Any] = key, value
        self._refuses = internal and not isinstance(value, CombinedSerde)
        self._timestamp = timestamp
        self._max_ahead = max_ahead
        self._without_nulls: bool = getattr(value, "without_nulls", False)
        self._exact = is_exact(key)
        self.odd_keys = False
        """Whether there was a key that equals keys with other bytes in Python."""
        self.newest: int | None = -1 if partition_time else None
        """With `partition_time`, the newest event time so far (-1: none), for records without one."""
        self.drops = {"negative timestamp": 0}
        self.doubt: str | None = None
        """A warning about the first time that seems to be in another unit."""

    def decode(self, batch: Batch, now: int) -> Records:
        """Return the records of a batch; raise RecordError for the first that cannot be decoded.

        The index of the error is that in the batch. `now` is the wall-clock time. Raises Retryable if a serde does, and
        then takes none of the batch. Raises TopologyError for combined records that the program cannot read.
        """
        if self._refuses and batch.headers is not None:
            refuse_combined(self._step, batch.headers)
        try:
            return self._decode(batch, now)
        except Retryable:
            raise
        except Exception:
            return self._one_by_one(batch, now)

    def _decode(self, batch: Batch, now: int) -> Records:
        if batch.made:
            return self._records(batch, batch.keys, batch.values, now)
        if self._without_nulls and None in batch.values:
            batch = without_nulls(batch)
        if self._by_headers and batch.headers is not None:
            return self._decode_by_headers(batch, batch.headers, now)
        return self._records(batch, self._keys(batch.keys), self._values(batch.values), now)

    def _decode_by_headers(self, batch: Batch, headers: list[Headers], now: int) -> Records:
        """Decode with serdes that may need headers, and leave theirs out."""
        decoded: list[list[Any]] = []
        left: Any = headers
        for serde, column, plain in zip(
            self._serdes, (batch.keys, batch.values), (self._keys, self._values), strict=True
        ):
            if hasattr(serde, "decode_with_headers"):
                decoded.append(serde.decode_with_headers(column, headers))
                left = serde.without_ids(left)
            else:
                decoded.append(plain(column))
        keys, values = decoded
        return self._records(batch._replace(headers=left), keys, values, now)

    def _records(self, batch: Batch, keys: list[Any], values: list[Any], now: int) -> Records:
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
        """Return the results of a timestamp function for the records of a batch."""
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
            alone = [key], [value], [timestamp], [offset], [headers]
            single = Batch(batch.topic, batch.partition, *alone, 0, batch.made)
            try:
                done += self._decode(single, now)
            except Retryable:
                raise
            except Exception as error:
                failing = Record(key, value, timestamp, headers, offset)
                ahead = isinstance(error, AheadOfClock)
                doing, counted = ("take", "ahead of the clock") if ahead else ("decode", "undecodable")
                raise RecordError(self._step, place, failing, done, doing=doing, counted=counted) from error
        return done


def without_nulls(batch: Batch) -> Batch:
    """Return a batch without the records whose value is null."""
    kept = [place for place, value in enumerate(batch.values) if value is not None]

    def of(column: list[Any]) -> list[Any]:
        return [column[place] for place in kept]

    return batch._replace(
        keys=of(batch.keys),
        values=of(batch.values),
        timestamps=of(batch.timestamps),
        offsets=of(batch.offsets),
        headers=None if batch.headers is None else of(batch.headers),
    )


def decoder(node: Source | Repartition) -> Decoder:
    """Return the decoder of a source or a repartition."""
    key, value = node.key or auto_key, node.value or auto
    if not isinstance(node, Source):
        return Decoder(node.name, key, value, internal=True)
    ahead = None if node.watermark is None else node.watermark.max_ahead
    return Decoder(node.name, key, value, node.timestamp, partition_time=node.partition_time, max_ahead=ahead)


class Encoder:
    """The encoder from records to rows."""

    def __init__(
        self,
        key: Serde[Any],
        value: Serde[Any],
        *,
        hashed: Callable[[Any], bytes] | None = None,
        suffix: int = 0,
        partition: Callable[[Record[Any, Any]], int] | None = None,
        headers: Callable[[Record[Any, Any]], Any] | None = None,
    ) -> None:
        """Set up the columns.

        The partition is chosen by `partition`, or by a hash of the bytes from `hashed`, or of those of the key without
        the last `suffix`.
        """
        self.key, self.value = key, value
        self._keys = column_encoder(key)
        self._values = column_encoder(value)
        inner = getattr(key, "inner", key)  # of a windowed key
        both: tuple[tuple[Any, str], ...] = (inner, "key"), (value, "value")
        self._with_headers: list[tuple[Any, str]] = [
            (serde, column) for serde, column in both if hasattr(serde, "with_id")
        ]
        self._attributes = getattr(value, "with_attributes", None)
        self._hashed = hashed
        self._suffix = suffix
        self._partition = partition
        self._headers = headers
        more = partition or headers or hashed or self._attributes or self._with_headers
        self._columns = None if more else ColumnRows(key, self._values)

    def writable(self, update: Update[Any]) -> tuple[Update[Any], Exception | None]:
        """Return the part of an update that can be encoded, and the error of its new row, if any."""
        row: Serde[Any] = self.value.row if isinstance(self.value, UpdateSerde) else self.value
        old = None if old_result(row.encode, update.old) is None else update.old
        try:
            if update.new is not None:
                row.encode(update.new)
        except Exception as error:
            return Update(old, None), error
        return Update(old, update.new), None

    def rows(self, records: Sequence[Record[Any, Any]]) -> OutgoingColumns:
        """Return one row per record. Raises Retryable if a serde does."""
        if self._columns is not None and isinstance(records, ResultColumns):
            return self._columns.rows(records)
        keys = self._keys([record.key for record in records])
        values = self._values([record.value for record in records])
        headers: list[list[tuple[str, bytes | None]] | None]
        if self._headers is not None:
            headers = [given_headers(self._headers(record) or ()) or None for record in records]
        else:
            headers = [list(record.headers) if record.headers else None for record in records]
        if self._attributes is not None:
            headers = self._attributes(headers, [record.value for record in records])
        for serde, column in self._with_headers:
            headers = serde.with_id(headers, keys if column == "key" else values)
        partitions: list[int | bytes] | None = None
        if self._partition is not None:
            partitions = [given_partition(self._partition(record)) for record in records]
        elif self._hashed is not None:
            hashed = self._hashed
            partitions = [-1 if record.key is None else hashed(record.key) for record in records]
        elif self._suffix:
            end = -self._suffix
            partitions = [-1 if key is None else key[:end] for key in keys]
        times = [record.timestamp for record in records]
        return OutgoingColumns(keys, values, times, headers if any(headers) else None, partitions)


class SinkWriter(Operator):
    """The writer of one topic, or of the topic that a function returns for each record."""

    def __init__(
        self,
        step: str,
        topic: str | Callable[[Record[Any, Any]], str],
        encoder: Encoder,
        per_topic: Callable[[str], Encoder] | None = None,
    ) -> None:
        """Create it; `per_topic` makes the encoder of a topic, if topics differ in theirs."""
        self._step = step
        self._topic = topic
        self._encoder = encoder
        self._per_topic = per_topic
        self._encoders: dict[str, Encoder] = {}

    def process(self, records: Records, now: int) -> list[Outgoing]:
        try:
            return self._write(records)
        except Retryable:
            raise
        except Exception:
            return one_by_one(self._step, records, lambda record, done: done.extend(self._write([record])))

    def _write(self, records: Records) -> list[Outgoing]:
        topic = self._topic
        if isinstance(topic, str):
            return [Outgoing(topic, self._encoder.rows(records), records)]
        groups: dict[str, Records] = {}
        for record in records:
            groups.setdefault(given_topic(topic(record)), []).append(record)
        return [Outgoing(name, self._of(name).rows(group), group) for name, group in groups.items()]

    def _of(self, topic: str) -> Encoder:
        if self._per_topic is None:
            return self._encoder
        encoder = self._encoders.get(topic)
        if encoder is None:
            encoder = self._encoders[topic] = self._per_topic(topic)
        return encoder


class RepartitionWriter(Operator):
    """The writer of a repartition topic; with `by`, under the key that the function returns.

    Records without a key are dropped and counted or, with `null_keys`, written to any partition.
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
        """Write a record; delete the old row of an update if the new one cannot be encoded."""
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
    """Write each record alone, to find the one that fails; `write` adds its output to the list."""
    done: list[Outgoing] = []
    for place, record in enumerate(records):
        try:
            write(record, done)
        except Retryable:
            raise
        except Exception as error:
            raise RecordError(step, place, record, done, doing="write") from error
    return done
