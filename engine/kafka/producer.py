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

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from operator import length_hint
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from ...operators.record import Outgoing, Row
from ...state.changelog import ChangelogRecord
from ..errors import Fatal, Fenced, Refused, Retryable, TidemillError, Unsettled
from ..failpoints import hit
from .deadline import bounded
from .errors import (
    CLIENT_FAILURES,
    HOPELESS,
    MISSING,
    TopicMissing,
    TransactionAborted,
    acting,
    asking,
    error_of,
    explain,
    translate,
)
from .partition_counts import PartitionCounts
from .rejected_records import REFUSALS, refusal

__all__ = ["KafkaProducer", "PlainProducer", "TransactionalProducer"]

Key = tuple[str, int]
SLICE_SECONDS = 1.0
"""After what time a commit looks whether it is still worth waiting for."""
SEND_SECONDS = 15.0
"""How long offsets may take to become a part of the transaction; a request that is not answered takes 10 s."""
ROW_SECONDS = 30.0
"""How long the delivery of a row is waited for, where rows go one by one."""
EARLIEST = 1
"""Written for a timestamp of exactly 0, which the client would take for now: of the two the error of 1 ms is harmless,
while the other would move the event time of whoever reads it to today."""
NOT_TAKEN = (KafkaException, TypeError, ValueError, OverflowError)
"""What the client raises for a record that it does not take; of the first kind it may be something else."""
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


class KafkaProducer:
    """What both kinds share: handing records to librdkafka and hearing of failures.

    A delivery report is heard of by `dict.setdefault`, which keeps the first message of each error (and of none)
    without running Python code per record. No method that hands records over or hears of them raises Retryable: part of
    the work is done, so it cannot be done again from there.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._delivered: dict[KafkaError | None, Message] = {}
        self._report: Callable[[KafkaError | None, Message], Any] | None = self._delivered.setdefault
        self._producer = Producer({**options, "enable.idempotence": True, "partitioner": "murmur2_random"})
        self.counts = PartitionCounts(self._producer.list_topics)
        self._ends: dict[Key, int] = {}
        self.records_out = 0

    def produce(self, outgoing: Iterable[Outgoing], *, one_by_one: bool = False) -> list[Refused]:
        """Hands records over; waits while the local queue is full. Gives those that the client does not take.

        With `one_by_one` each row is delivered before the next is handed over, so that one that a broker refuses is
        known: it is raised as Refused.
        """
        refused: list[Refused] = []
        for out in (Outgoing(*one) for one in outgoing):
            self._before(len(out.rows))
            with self._acting(f"write to topic {out.topic!r}"):
                if one_by_one:
                    self._one_by_one(out, refused)
                else:
                    self._hand_over(out, refused)
        self.poll()
        return refused

    def changelog(self, topic: str, partition: int, records: Sequence[ChangelogRecord]) -> None:
        """Hands the changelog records of one store of one task over."""
        if not records:
            return
        self._before(len(records))
        produce = self._producer.produce
        last = len(records) - 1
        with self._acting(f"write to topic {topic!r}"):
            for index, (key, value, headers) in enumerate(records):
                if index == last:
                    hit("after-some-changelog")
                report = self._report_end if index == last else self._report
                try:
                    try:
                        produce(topic, value, key, partition, report, None, 0, headers)  # pyright: ignore[reportArgumentType]
                    except BufferError:
                        self._produce_when_room(topic, value, key, partition, report, 0, headers)
                except NOT_TAKEN as failure:
                    raise Refused(_not_taken(failure, topic, (key, value, 0, None, partition)), topic) from failure
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
        with suppress(*CLIENT_FAILURES):  # it was fenced, which is why it is closed
            self._producer.purge()
            self._producer.flush(1)

    def _hand_over(self, out: Outgoing, refused: list[Refused]) -> None:
        produce, report, topic = self._producer.produce, self._report, out.topic
        rows = iter(out.rows)
        for key, value, timestamp, headers, partition in rows:
            if partition.__class__ is not int:
                partition = self.counts.choose(topic, partition)  # pyright: ignore[reportArgumentType]
            try:
                try:
                    produce(topic, value, key, partition, report, None, timestamp or EARLIEST, headers)  # pyright: ignore[reportArgumentType]
                except BufferError:
                    self._produce_when_room(topic, value, key, partition, report, timestamp or EARLIEST, headers)
            except NOT_TAKEN as failure:
                index = len(out.rows) - length_hint(rows) - 1
                refused.append(Refused(_not_taken(failure, topic, out.rows[index]), topic, (out, index)))

    def _one_by_one(self, out: Outgoing, refused: list[Refused]) -> None:
        for place, row in enumerate(out.rows):
            before = len(refused)
            self._hand_over(Outgoing(out.topic, [row], out.records[place : place + 1], out.step), refused)
            if len(refused) == before:
                self._deliver(out, place)

    def _deliver(self, out: Outgoing, index: int) -> None:
        """Waits until a row is delivered."""
        left = self._producer.flush(ROW_SECONDS)
        failure = self._undelivered(out.rows[index])
        if isinstance(failure, Refused):
            raise Refused(str(failure), failure.topic, (out, index))
        if failure is not None:
            raise failure
        if left:
            raise Unsettled(f"a record for topic {out.topic!r} is not delivered after {ROW_SECONDS:.0f} s")

    def _before(self, count: int) -> None:
        self.records_out += count

    def _produce_when_room(
        self, topic: str, value: Any, key: Any, partition: Any, report: Any, timestamp: int, headers: Any
    ) -> None:
        while True:
            self._producer.poll(0.05)
            self._raise_failure()
            try:
                self._producer.produce(topic, value, key, partition, report, None, timestamp, headers)
                return
            except BufferError:
                continue

    def _hear(self, seconds: float) -> None:
        """Hears of deliveries, and of being fenced: the client tells that once, as an exception of whatever is called
        next."""
        with self._acting("write"):
            self._producer.poll(seconds)

    def _acting(self, doing: str) -> acting:
        """Around the calls of the client that hand records over or decide about them."""
        return acting(doing, self._explained)

    def _explained(self, told: TidemillError) -> TidemillError:
        """A better word for a failure, where there is one."""
        error = None if told.__cause__ is None else error_of(told.__cause__)
        return TopicMissing(str(told)) if error is not None and error.code() in MISSING else told

    def _report_end(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._ends[message.topic(), message.partition()] = message.offset() + 1  # pyright: ignore[reportArgumentType, reportOptionalOperand]
        else:
            self._delivered.setdefault(error, message)

    def _undelivered(self, row: Row | None = None) -> TidemillError | None:
        """The failure heard of since the last call that says most. `row` is given where it can only be of that one."""
        heard = [(error, message) for error, message in self._delivered.items() if error is not None]
        self._delivered.clear()
        failures = [self._failed(error, message, row) for error, message in heard if error.code() not in PURGED]
        failures.sort(key=lambda failure: not isinstance(failure, (Refused, TopicMissing)))
        return failures[0] if failures else None

    def _failed(self, error: KafkaError, message: Message, row: Row | None) -> TidemillError:
        """What a delivery report with an error means."""
        topic = str(message.topic())
        if error.code() in REFUSALS:
            self.counts.outdated()
            return Refused(refusal(error, topic, row), topic)
        if error.code() in MISSING:
            return TopicMissing(f"topic {topic!r} does not exist: {explain(error)}")
        told = translate(KafkaException(error), f"deliver a record to topic {topic!r}")
        if isinstance(told, Retryable):
            return Unsettled(str(told))
        if type(told) is Fatal:
            return Fatal(f"{told} (partition {message.partition()}, key {message.key()!r})")
        return told

    def _raise_failure(self) -> None:
        failure = self._undelivered() if self._delivered else None
        if failure is not None:
            raise failure


class PlainProducer(KafkaProducer):
    """For at-least-once: everything handed over is delivered when `flush` returns."""

    def flush(self, timeout: float) -> None:
        """Waits for all deliveries. Raises Unsettled when some are still on the way after `timeout` seconds."""
        with self._acting("write"):
            left = self._producer.flush(timeout)
        self._raise_failure()
        if left:
            raise Unsettled(f"{left} records are not delivered after {timeout:.0f} s: the broker does not answer")


class TransactionalProducer(KafkaProducer):
    """For exactly-once: outputs, changelogs and offsets become visible together.

    A record that cannot be delivered makes the transaction fail, so no reports are asked for; after the first abort
    they are, so that the topic of a record that fails again is named.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        transactional_id: str,
        now: Callable[[], float] = time.monotonic,
        hopeless: Event | None = None,
    ) -> None:
        """`hopeless` is set when the program cannot go on, so that a commit need not be waited for."""
        super().__init__({**options, "transactional.id": transactional_id})
        self.transactional_id = transactional_id
        self.open = False
        self._report = None
        self._now = now
        self._began = 0.0
        self._hopeless = hopeless
        self._longest = int(options.get("transaction.timeout.ms", 60_000)) / 1000

    def init(self, timeout: float) -> None:
        """Registers with the coordinator: finishes or aborts what an earlier producer of this id left open."""
        with asking("register the transactional producer"):
            self._producer.init_transactions(timeout)

    def begin(self) -> None:
        """Begins a transaction unless one is open."""
        if not self.open:
            with self._acting("begin a transaction"):
                self._producer.begin_transaction()
            self.open = True
            self._began = self._now()

    def send_offsets(self, offsets: Mapping[Key, tuple[int, str]], group: bytes, timeout: float) -> None:
        """Makes the inputs' next offsets, with their metadata, a part of the transaction.

        After Unsettled this producer is of no use any more.
        """
        positions = [TopicPartition(*key, at, metadata) for key, (at, metadata) in offsets.items()]
        send = partial(self._producer.send_offsets_to_transaction, positions, group, timeout)
        doing = "add offsets to the transaction"
        with self._acting(doing):
            bounded(send, min(timeout, SEND_SECONDS), doing)

    def commit(self, timeout: float) -> None:
        """Commits."""
        with self._acting("commit the transaction"):
            self._commit(timeout)
        self.open = False
        self._raise_failure()

    def _commit(self, timeout: float) -> None:
        """In slices: the client waits for deliveries to a topic that is gone as long as it is let, and goes on waiting
        with the next call."""
        end = self._now() + timeout
        while True:
            try:
                self._producer.commit_transaction(timeout if self._hopeless is None else min(timeout, SLICE_SECONDS))
                return
            except KafkaException as failure:
                error = error_of(failure)
                if error is None or error.code() != KafkaError._TIMED_OUT or self._now() >= end:
                    raise
                if self._hopeless is not None and self._hopeless.is_set():
                    raise TransactionAborted("the transaction waits for a topic that does not exist") from failure

    def abort(self, timeout: float) -> None:
        """Aborts the open transaction, if there is one."""
        if self.open:
            with asking("abort the transaction"):
                self._producer.purge()
                self._producer.abort_transaction(timeout)
            self.open = False
        self._report = self._delivered.setdefault
        self._delivered.clear()
        self._ends.clear()
        self.counts.outdated()

    def _before(self, count: int) -> None:
        self.begin()
        self.records_out += count

    def _failed(self, error: KafkaError, message: Message, row: Row | None) -> TidemillError:
        told = super()._failed(error, message, row)
        if type(told) is Fatal and error.code() not in HOPELESS:
            return TransactionAborted(str(told))
        return told

    def _explained(self, told: TidemillError) -> TidemillError:
        """The reason why a record could not be delivered says more than the abort it causes."""
        error = None if told.__cause__ is None else error_of(told.__cause__)
        if error is None or isinstance(told, Refused):
            return told
        with suppress(*CLIENT_FAILURES):  # it says the same
            self._producer.poll(0)
        undelivered = self._undelivered()
        if isinstance(undelivered, (Refused, TopicMissing)):
            return undelivered
        if error.code() in REFUSALS:
            return Refused(refusal(error, "", None))
        if error.code() == KafkaError._STATE:
            return TransactionAborted("the transaction has failed and takes no more records")
        age = self._now() - self._began
        if isinstance(told, Fenced) and self.open and age > self._longest:
            return Unsettled(
                f"{told}. The transaction had been open for {age:.0f} s, so the broker ended it after "
                f"transaction_timeout ({self._longest:g} s): what is done between two commits takes too long. Make the "
                "slowest function faster, or raise transaction_timeout"
            )
        return super()._explained(told)


def _not_taken(failure: Exception, topic: str, row: Row) -> str:
    """Why the client does not take a record; raises the failure when it is about something else."""
    if not isinstance(failure, KafkaException):
        return f"topic {topic!r} cannot take such a record: {failure}"
    error = error_of(failure)
    if error is None or error.code() not in REFUSALS:
        raise failure
    return refusal(error, topic, row)
