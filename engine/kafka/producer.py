"""Writes outputs and changelogs, with or without a transaction.

There is one producer per process. `TransactionalProducer` begins its transaction lazily at the first record;
`PlainProducer` flushes. Both report the offset of the last changelog record per partition, from the delivery report of
that one record. Partitions are chosen by murmur2 over the key, as in the Java client, so that topics written by either
are partitioned alike.

    READY --first record--> OPEN --commit()--> READY
                              |---abort()----> READY
                              '---any fatal error: the owner discards the object
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import repeat
from operator import length_hint
from threading import Event
from typing import Any, TypeAlias, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition

from ...operators.record import Outgoing, OutgoingColumns, Row
from ...state.changelog import ChangelogRecord
from ...state.topic_partition import TopicPartition
from ..errors import CommitOutcomeUnknown, Fatal, Fenced, RecordRejected, Retryable, TidemillError
from ..failpoints import hit
from .deadline import call_with_deadline
from .errors import (
    CLIENT_FAILURES,
    FATAL_CODES,
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
from .rejected_records import NOT_TAKEN, REFUSALS, not_taken, rejection

__all__ = ["KafkaProducer", "PlainProducer", "TransactionalProducer"]

SLICE_SECONDS = 1.0
"""How often a commit checks whether it is still worth waiting for."""
SEND_SECONDS = 15.0
"""How long adding offsets to the transaction may take; an unanswered request takes 10 s."""
ROW_SECONDS = 30.0
"""How long to wait for the delivery of a row, if rows are sent one by one."""
EARLIEST = 1
"""Written for a timestamp of exactly 0, which the client would replace with the current time. An error of 1 ms is
harmless; the other would move the event time that a reader sees to today."""
PURGED = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})
Refuse: TypeAlias = Callable[[Exception, Row, int], None]
"""Gets the failure of a row that the client does not take, the row, and its index."""


class KafkaProducer:
    """The common part of both producers: passing records to librdkafka, and failure reports.

    The delivery callback is `dict.setdefault`, which keeps the first message of each error (and of success) without
    running Python code per record. No method that passes records on or processes reports raises Retryable: part of the
    work is done, so it cannot be repeated from there.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._delivered: dict[KafkaError | None, Message] = {}
        self._report: Callable[[KafkaError | None, Message], Any] | None = self._delivered.setdefault
        self._producer = Producer({**options, "enable.idempotence": True, "partitioner": "murmur2_random"})
        self.counts = PartitionCounts(self._producer.list_topics)
        self._ends: dict[TopicPartition, int] = {}
        self.records_out = 0

    def produce(self, outgoing: Iterable[Outgoing], *, one_by_one: bool = False) -> list[RecordRejected]:
        """Pass records to the client, and return those that it rejects.

        Waits while the local queue is full. With `one_by_one`, each row is delivered before the next is passed on, so
        that a row that a broker rejects is known: it is raised as RecordRejected.
        """
        refused: list[RecordRejected] = []
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
        """Pass the changelog records of one store of one task to the client."""
        if not records:
            return
        self._before(len(records))

        def reject(failure: Exception, row: Row, _: int) -> None:
            raise RecordRejected(not_taken(failure, topic, row), topic) from failure

        with self._acting(f"write to topic {topic!r}"):
            for part, report in ((records[:-1], self._report), (records[-1:], self._report_end)):
                if report == self._report_end:
                    hit("after-some-changelog")
                if part:
                    keys, values, headers = zip(*part, strict=True)
                    rows = OutgoingColumns(keys, values, [0] * len(part), headers, [partition] * len(part))
                    self._pass_on(topic, rows, report, reject)
        self._hear(0)

    def ends(self) -> dict[TopicPartition, int]:
        """Return the next offsets of the changelog partitions written since the last call."""
        ends, self._ends = self._ends, {}
        return ends

    def poll(self) -> None:
        """Process delivery reports. Raises the failure if a record could not be delivered."""
        self._hear(0)
        self._raise_failure()

    def close(self) -> None:
        """Drop what is not delivered and close the connections."""
        with suppress(*CLIENT_FAILURES):  # it is closed because it was fenced
            self._producer.purge()
            self._producer.flush(1)

    def _hand_over(self, out: Outgoing, refused: list[RecordRejected]) -> None:
        topic, rows = out.topic, OutgoingColumns.of(out.rows)
        given = rows.partitions
        partitions = [-1] * len(rows) if given is None else list(map(self.counts.chooser(topic), given))
        times = rows.times if all(rows.times) else [time or EARLIEST for time in rows.times]
        sent = OutgoingColumns(rows.keys, rows.values, times, rows.headers, partitions)

        def refuse(failure: Exception, row: Row, index: int) -> None:
            refused.append(RecordRejected(not_taken(failure, topic, row), topic, (out, index)))

        self._pass_on(topic, sent, self._report, refuse)

    def _pass_on(self, topic: str, rows: OutgoingColumns, report: Any, refuse: Refuse) -> None:
        """Pass rows to the client without Python code per row, with numbers as partitions."""
        produce, left, partitions = self._producer.produce, iter(rows.keys), cast("Sequence[int]", rows.partitions)
        headers, none = rows.headers or repeat(None), repeat(None)
        calls = map(produce, repeat(topic), rows.values, left, partitions, repeat(report), none, rows.times, headers)
        while True:
            try:
                try:
                    deque(calls, maxlen=0)
                    return
                except BufferError:
                    key, value, timestamp, pairs, partition = rows[len(rows) - length_hint(left) - 1]
                    self._produce_when_room(topic, value, key, partition, report, timestamp, pairs)
            except NOT_TAKEN as failure:
                index = len(rows) - length_hint(left) - 1
                refuse(failure, rows[index], index)

    def _one_by_one(self, out: Outgoing, refused: list[RecordRejected]) -> None:
        self._report = self._delivered.setdefault
        for place, row in enumerate(out.rows):
            before = len(refused)
            self._hand_over(Outgoing(out.topic, [row], out.records[place : place + 1], out.step), refused)
            if len(refused) == before:
                self._deliver(out, place)

    def _deliver(self, out: Outgoing, index: int) -> None:
        """Wait until a row is delivered."""
        left = self._producer.flush(ROW_SECONDS)
        failure = self._undelivered(out.rows[index])
        if isinstance(failure, RecordRejected):
            raise RecordRejected(str(failure), failure.topic, (out, index))
        if failure is not None:
            raise failure
        if left:
            raise CommitOutcomeUnknown(f"a record for topic {out.topic!r} is not delivered after {ROW_SECONDS:.0f} s")

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
        """Process delivery reports, and the report of being fenced.

        The client reports fencing once, as an exception of the next call.
        """
        with self._acting("write"):
            self._producer.poll(seconds)

    def _acting(self, doing: str) -> acting:
        """Return the context of client calls that pass records on or decide about them."""
        return acting(doing, self._explained)

    def _explained(self, explained: TidemillError) -> TidemillError:
        """Return a more specific error for a failure, if there is one."""
        error = None if explained.__cause__ is None else error_of(explained.__cause__)
        return TopicMissing(str(explained)) if error is not None and error.code() in MISSING else explained

    def _report_end(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self._ends[message.topic(), message.partition()] = message.offset() + 1  # pyright: ignore[reportArgumentType, reportOptionalOperand]
        else:
            self._delivered.setdefault(error, message)

    def _undelivered(self, row: Row | None = None) -> TidemillError | None:
        """Return the most specific failure reported since the last call.

        `row` is given if the failure can only be that of this row.
        """
        heard = [(error, message) for error, message in self._delivered.items() if error is not None]
        self._delivered.clear()
        failures = [self._failed(error, message, row) for error, message in heard if error.code() not in PURGED]
        failures.sort(key=lambda failure: not isinstance(failure, (RecordRejected, TopicMissing)))
        return failures[0] if failures else None

    def _failed(self, error: KafkaError, message: Message, row: Row | None) -> TidemillError:
        """Return the engine's error for a delivery report with an error."""
        topic = str(message.topic())
        if error.code() in REFUSALS:
            self.counts.outdated()
            return RecordRejected(rejection(error, topic, row), topic)
        if error.code() in MISSING:
            return TopicMissing(f"topic {topic!r} does not exist: {explain(error)}")
        explained = translate(KafkaException(error), f"deliver a record to topic {topic!r}")
        if isinstance(explained, Retryable):
            return CommitOutcomeUnknown(str(explained))
        if type(explained) is Fatal:
            return Fatal(f"{explained} (partition {message.partition()}, key {message.key()!r})")
        return explained

    def _raise_failure(self) -> None:
        failure = self._undelivered() if self._delivered else None
        if failure is not None:
            raise failure


class PlainProducer(KafkaProducer):
    """The producer under at-least-once: `flush` returns when everything is delivered."""

    def flush(self, timeout: float) -> None:
        """Wait for all deliveries.

        Raises CommitOutcomeUnknown if some are still in flight after `timeout` seconds.
        """
        with self._acting("write"):
            left = self._producer.flush(timeout)
        self._raise_failure()
        if left:
            raise CommitOutcomeUnknown(
                f"{left} records are not delivered after {timeout:.0f} s: the broker does not answer"
            )


class TransactionalProducer(KafkaProducer):
    """The producer under exactly-once: outputs, changelogs and offsets become visible together.

    A record that cannot be delivered makes the transaction fail, so no delivery reports are requested; after the first
    abort they are, so that the topic of a record that fails again is named.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        transactional_id: str,
        now: Callable[[], float] = time.monotonic,
        fatal: Event | None = None,
    ) -> None:
        """Make a producer; `fatal` is set when the program cannot continue.

        Then a commit need not be waited for.
        """
        super().__init__({**options, "transactional.id": transactional_id})
        self.transactional_id = transactional_id
        self.open = False
        self._report = None
        self._now = now
        self._began = 0.0
        self._fatal = fatal
        self._longest = int(options.get("transaction.timeout.ms", 60_000)) / 1000

    def init(self, timeout: float) -> None:
        """Register with the coordinator, which ends the transaction of an earlier producer."""
        with asking("register the transactional producer"):
            self._producer.init_transactions(timeout)

    def begin(self) -> None:
        """Begin a transaction unless one is open."""
        if not self.open:
            with self._acting("begin a transaction"):
                self._producer.begin_transaction()
            self.open = True
            self._began = self._now()

    def left(self) -> float | None:
        """Return after how many seconds the broker ends the transaction; None if none is open."""
        return self._longest - (self._now() - self._began) if self.open else None

    @property
    def limit(self) -> float:
        """After how many seconds the broker ends a transaction."""
        return self._longest

    def send_offsets(self, offsets: Mapping[TopicPartition, tuple[int, str]], group: bytes, timeout: float) -> None:
        """Add the inputs' next offsets, with their metadata, to the transaction.

        After CommitOutcomeUnknown this producer cannot be used any more.
        """
        positions = [KafkaPartition(*key, at, metadata) for key, (at, metadata) in offsets.items()]
        send = partial(self._producer.send_offsets_to_transaction, positions, group, timeout)
        doing = "add offsets to the transaction"
        with self._acting(doing):
            call_with_deadline(send, min(timeout, SEND_SECONDS), doing)

    def commit(self, timeout: float) -> None:
        """Commit the transaction."""
        with self._acting("commit the transaction"):
            self._commit(timeout)
        self.open = False
        self._raise_failure()

    def _commit(self, timeout: float) -> None:
        """Commit in slices, so that `fatal` ends the wait.

        The client waits for deliveries to a deleted topic as long as the timeout allows, and continues with the next
        call.
        """
        end = self._now() + timeout
        while True:
            try:
                self._producer.commit_transaction(timeout if self._fatal is None else min(timeout, SLICE_SECONDS))
                return
            except KafkaException as failure:
                error = error_of(failure)
                if error is None or error.code() != KafkaError._TIMED_OUT or self._now() >= end:
                    raise
                if self._fatal is not None and self._fatal.is_set():
                    raise TransactionAborted("the transaction waits for a topic that does not exist") from failure

    def abort(self, timeout: float) -> None:
        """Abort the open transaction, if there is one."""
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
        explained = super()._failed(error, message, row)
        if type(explained) is Fatal and error.code() not in FATAL_CODES:
            return TransactionAborted(str(explained))
        return explained

    def _explained(self, explained: TidemillError) -> TidemillError:
        """Return why a record could not be delivered: that says more than the abort it causes."""
        error = None if explained.__cause__ is None else error_of(explained.__cause__)
        if error is None or isinstance(explained, RecordRejected):
            return explained
        with suppress(*CLIENT_FAILURES):  # the same failure again
            self._producer.poll(0)
        undelivered = self._undelivered()
        if isinstance(undelivered, (RecordRejected, TopicMissing)):
            return undelivered
        if error.code() in REFUSALS:
            return RecordRejected(rejection(error, "", None))
        if error.code() == KafkaError._STATE:
            return TransactionAborted("the transaction has failed and accepts no more records")
        age = self._now() - self._began
        if isinstance(explained, Fenced) and self.open and age > self._longest:
            return CommitOutcomeUnknown(
                f"{explained}. The transaction had been open for {age:.0f} s, so the broker ended it after "
                f"transaction_timeout ({self._longest:g} s): the work between two commits takes too long. Make the "
                "slowest function faster, or raise transaction_timeout"
            )
        return super()._explained(explained)
