"""Writes outputs and changelogs, in a transaction or without one.

One producer a process. `TransactionalProducer` begins its transaction lazily at the first record; `PlainProducer`
flushes. Both report where the last changelog record of a partition came to lie, by the delivery report of that one
record. Partitions are chosen by murmur2 over the key, as the Java client does, so that topics written here are
partitioned like topics written there.

    READY --first record--> OPEN --commit()--> READY
                              |---abort()----> READY
                              '---any error that is fatal: the object is thrown away by its owner
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from ...operators.record import Outgoing
from ...state.changelog import ChangelogRecord
from ..errors import Fatal, Retryable, TidemillError
from ..failpoints import hit
from .bounded import bounded
from .failures import TooLarge, TransactionAborted, error_of, translate
from .murmur2 import murmur2_partition

__all__ = ["KafkaProducer", "PlainProducer", "TransactionalProducer"]

Key = tuple[str, int]
PARTITIONS_REMEMBERED = 200_000
SEND_SECONDS = 15.0
"""How long offsets may take to become a part of the transaction; a request that is not answered takes 10 s."""
EARLIEST = 1
"""Written for a timestamp of exactly 0, which the client would take for now: of the two the error of 1 ms is harmless,
while the other would move the event time of whoever reads it to today."""


class KafkaProducer:
    """What both kinds share: handing records to librdkafka and hearing of failures.

    A delivery report is heard of by `dict.setdefault`, which keeps the first message of each error (and of none)
    without running Python code per record.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._delivered: dict[KafkaError | None, Message] = {}
        self._report: Callable[[KafkaError | None, Message], Any] | None = self._delivered.setdefault
        self._producer = Producer({**options, "enable.idempotence": True, "partitioner": "murmur2_random"})
        self._ends: dict[Key, int] = {}
        self._counts: dict[str, int] = {}
        self._hashed: dict[tuple[str, bytes], int] = {}
        self.records_out = 0

    def produce(self, outgoing: Iterable[Outgoing]) -> None:
        """Hands records over; waits while the local queue is full."""
        produce = self._producer.produce
        for topic, rows in outgoing:
            self._before(len(rows))
            for key, value, timestamp, headers, partition in rows:
                if partition.__class__ is not int:
                    partition = self._partition(topic, partition)  # pyright: ignore[reportArgumentType]
                try:
                    produce(topic, value, key, partition, self._report, None, timestamp or EARLIEST, headers)  # pyright: ignore[reportArgumentType]
                except BufferError:
                    self._produce_when_room(topic, value, key, partition, self._report, timestamp or EARLIEST, headers)
                except KafkaException as failure:
                    raise self._refused(failure, topic, key, value) from failure
        self.poll()

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Hands the changelog records of one store of one task over."""
        if not records:
            return
        self._before(len(records))
        produce = self._producer.produce
        last = len(records) - 1
        for index, (key, value, headers) in enumerate(records):
            if index == last:
                hit("after-some-changelog")
            report = self._report_end if index == last else self._report
            try:
                produce(topic, value, key, partition, report, None, 0, headers)  # pyright: ignore[reportArgumentType]
            except BufferError:
                self._produce_when_room(topic, value, key, partition, report, 0, headers)
            except KafkaException as failure:
                raise self._refused(failure, topic, key, value) from failure
        self._hear(0)

    def ends(self) -> dict[Key, int]:
        """Next offsets of the changelog partitions written since the last call."""
        ends, self._ends = self._ends, {}
        return ends

    def poll(self) -> None:
        """Hears of deliveries. Raises when a record could not be delivered."""
        self._hear(0)
        self._raise_failure()

    def close(self) -> None:
        """Drops what is not delivered and closes the connections."""
        self._producer.purge()
        with suppress(KafkaException):  # it was fenced, which is why it is closed
            self._producer.flush(1)

    def _before(self, count: int) -> None:
        self.records_out += count

    def _produce_when_room(
        self, topic: str, value: Any, key: Any, partition: Any, report: Any, timestamp: int, headers: Any
    ) -> None:
        while True:
            self._hear(0.05)
            self._raise_failure()
            try:
                self._producer.produce(topic, value, key, partition, report, None, timestamp, headers)
                return
            except BufferError:
                continue
            except KafkaException as failure:
                raise self._refused(failure, topic, key, value) from failure

    def _hear(self, seconds: float) -> None:
        """Hears of deliveries, and of being fenced: the client tells that once, as an exception of whatever is called
        next."""
        try:
            self._producer.poll(seconds)
        except KafkaException as failure:
            raise translate(failure, "write") from failure

    def _partition(self, topic: str, key: bytes) -> int:
        known = self._hashed.get((topic, key))
        if known is not None:
            return known
        if topic not in self._counts:
            found = self._producer.list_topics(topic, 10).topics[topic]
            if found.error is not None:
                raise translate(KafkaException(found.error), f"write topic {topic!r}")
            self._counts[topic] = len(found.partitions)
        if len(self._hashed) >= PARTITIONS_REMEMBERED:
            self._hashed.clear()
        number = self._hashed[topic, key] = murmur2_partition(key, self._counts[topic])
        return number

    def _report_end(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._ends[message.topic(), message.partition()] = message.offset() + 1  # pyright: ignore[reportArgumentType, reportOptionalOperand]
        else:
            self._delivered.setdefault(error, message)

    def _undelivered(self) -> TidemillError | None:
        """The first failure heard of since the last call."""
        self._delivered.pop(None, None)
        if not self._delivered:
            return None
        error, message = next(iter(self._delivered.items()))
        self._delivered.clear()
        assert error is not None
        return _undelivered(error, message)

    def _raise_failure(self) -> None:
        failure = self._undelivered() if self._delivered else None
        if failure is not None:
            raise failure

    def _refused(self, failure: KafkaException, topic: str, key: bytes | None, value: bytes | None) -> TidemillError:
        error = error_of(failure)
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return _too_large(topic, key, value)
        return translate(failure, f"write to topic {topic!r}")


class PlainProducer(KafkaProducer):
    """For at-least-once: everything handed over is delivered when `flush` returns."""

    def flush(self, timeout: float) -> None:
        """Waits for all deliveries. Raises Retryable when some are still on the way after `timeout` seconds."""
        try:
            left = self._producer.flush(timeout)
        except KafkaException as failure:
            raise translate(failure, "write") from failure
        self._raise_failure()
        if left:
            raise Retryable(f"{left} records are not delivered after {timeout:.0f} s: the broker does not answer")


class TransactionalProducer(KafkaProducer):
    """For exactly-once: outputs, changelogs and offsets become visible together.

    A record that cannot be delivered makes the transaction fail, so no reports are asked for; after the first abort
    they are, so that a record that fails again is named.
    """

    def __init__(self, options: Mapping[str, Any], transactional_id: str) -> None:
        super().__init__({**options, "transactional.id": transactional_id})
        self.transactional_id = transactional_id
        self.open = False
        self._report = None

    def init(self, timeout: float) -> None:
        """Registers with the coordinator: finishes or aborts what an earlier producer of this id left open."""
        try:
            self._producer.init_transactions(timeout)
        except KafkaException as failure:
            raise translate(failure, "register the transactional producer") from failure

    def begin(self) -> None:
        """Begins a transaction unless one is open."""
        if not self.open:
            try:
                self._producer.begin_transaction()
            except KafkaException as failure:
                raise translate(failure, "begin a transaction") from failure
            self.open = True

    def send_offsets(self, offsets: Mapping[Key, tuple[int, str]], group: bytes, timeout: float) -> None:
        """Makes the inputs' next offsets, with their metadata, a part of the transaction.

        After a Retryable this producer is of no use any more.
        """
        positions = [TopicPartition(*key, at, metadata) for key, (at, metadata) in offsets.items()]
        send = partial(self._producer.send_offsets_to_transaction, positions, group, timeout)
        try:
            bounded(send, min(timeout, SEND_SECONDS), "add offsets to the transaction")
        except KafkaException as failure:
            raise self._explained(failure, "add offsets to the transaction") from failure

    def commit(self, timeout: float) -> None:
        """Commits; Retryable means: not known yet, call again."""
        try:
            self._producer.commit_transaction(timeout)
        except KafkaException as failure:
            raise self._explained(failure, "commit the transaction") from failure
        self.open = False
        self._raise_failure()

    def abort(self, timeout: float) -> None:
        """Aborts the open transaction, if there is one."""
        if self.open:
            self._producer.purge()
            try:
                self._producer.abort_transaction(timeout)
            except KafkaException as failure:
                raise translate(failure, "abort the transaction") from failure
            self.open = False
        self._report = self._delivered.setdefault
        self._delivered.clear()
        self._ends.clear()

    def _before(self, count: int) -> None:
        self.begin()
        self.records_out += count

    def _refused(self, failure: KafkaException, topic: str, key: bytes | None, value: bytes | None) -> TidemillError:
        """A transaction that has failed in the background takes no more records; its commit would say why."""
        error = error_of(failure)
        if error is not None and error.code() == KafkaError._STATE:
            return TransactionAborted(f"could not write to topic {topic!r}: the transaction has failed")
        return super()._refused(failure, topic, key, value)

    def _explained(self, failure: KafkaException, doing: str) -> TidemillError:
        """The reason a record could not be delivered says more than the abort it causes."""
        with suppress(TidemillError):  # `failure` says the same
            self._hear(0)
        undelivered = self._undelivered()
        if isinstance(undelivered, TooLarge):
            return undelivered
        told = translate(failure, doing)
        if isinstance(told, TooLarge) and self._report is None:
            return TransactionAborted(str(told))  # the next attempt asks for reports, so it can name the record
        return told


def _undelivered(error: KafkaError, message: Message) -> TidemillError:
    topic = str(message.topic())
    if error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE):
        return _too_large(topic, message.key(), message.value())
    told = translate(KafkaException(error), f"deliver a record to topic {topic!r}")
    if isinstance(told, Fatal):
        return Fatal(f"{told} (partition {message.partition()}, key {message.key()!r})")
    return told


def _too_large(topic: str, key: bytes | None, value: bytes | None) -> TooLarge:
    size = len(key or b"") + len(value or b"")
    return TooLarge(
        f"a record of {size:,} bytes for topic {topic!r} (key {(key or b'')[:80]!r}) is larger than is allowed. "
        "Nothing of it was committed. Make the value smaller, or raise the topic's max.message.bytes on the broker and "
        "message.max.bytes here (-X message.max.bytes=...)"
    )
