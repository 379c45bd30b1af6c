"""Sends records outside of transactions, and reads a topic of this process alone.

For work that belongs to no input record: what it sends is delivered at once, and its place is reported. A thread
processes the delivery reports.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic  # pyright: ignore[reportPrivateImportUsage]

from ...operators.record import Row
from ..errors import Fatal, Retryable
from ..threads import Thread
from .errors import CLIENT_FAILURES, error_of, explain, translate
from .partition_counts import PartitionCounts

__all__ = ["DirectSender"]

LOG: Final = logging.getLogger("tidemill.kafka")
ASK_SECONDS: Final = 15.0
POLL_SECONDS: Final = 0.1
FLUSH_SECONDS: Final = 10.0
FIRST_OFFSET: Final = 0

Delivered = Callable[[int, int, "Exception | None"], None]


class DirectSender:
    """A producer without transactions, and the reader of topics of this process alone."""

    def __init__(self, producer: Mapping[str, Any], consumer: Mapping[str, Any], admin: Mapping[str, Any]) -> None:
        """Create it from the options of the three clients."""
        self._producer = Producer({**producer, "enable.idempotence": True, "partitioner": "murmur2_random"})
        self._consumer_options = dict(consumer)
        self._admin: Any = AdminClient(dict(admin))  # its stubs are incomplete
        self._counts = PartitionCounts(self._producer.list_topics)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [Thread("tidemill-sender", self._poll)]
        self._threads[0].start()

    def send(self, topic: str, row: Row, done: Delivered) -> None:
        """Send a record; `done` gets its partition, offset and error, in another thread."""
        key, value, timestamp, headers, partition = row

        def report(error: KafkaError | None, message: Message) -> None:
            if error is None:
                done(message.partition() or 0, message.offset() or 0, None)
            else:
                done(-1, -1, translate(KafkaException(error), f"deliver a record to topic {topic!r}"))

        where: Any = partition if isinstance(partition, int) else self._counts.chooser(topic)(partition)
        try:
            self._producer.produce(topic, value, key, where, report, None, timestamp, headers)  # pyright: ignore[reportArgumentType]
        except (KafkaException, BufferError) as failure:
            done(-1, -1, Fatal(f"a record cannot be sent to topic {topic!r}: {failure}"))

    def partition_of(self, topic: str, key: bytes | None) -> int:
        """Return the partition of a key, -1 without one. Raises Retryable if no broker answers."""
        if key is None:
            return -1
        with self._lock:
            return self._counts.chooser(topic)(key)

    def count_of(self, topic: str) -> int:
        """Return the number of partitions of a topic, as it is remembered.

        Raises Retryable if no broker answers.
        """
        with self._lock:
            return self._counts.count(topic)

    def partitions_of(self, topic: str) -> int:
        """Return the number of partitions of a topic, 0 if there is none.

        Raises Retryable if no broker answers.
        """
        try:
            found = self._admin.list_topics(topic, timeout=ASK_SECONDS).topics.get(topic)
        except KafkaException as failure:
            raise translate(failure, f"look at topic {topic!r}") from failure
        return 0 if found is None or found.error is not None else len(found.partitions)

    def exists(self, topic: str) -> bool:
        """Return whether a topic exists. Raises Retryable if no broker answers."""
        return topic in self.topics()

    def topics(self) -> frozenset[str]:
        """Return the names of all topics. Raises Retryable if no broker answers."""
        try:
            found = self._admin.list_topics(timeout=ASK_SECONDS).topics
        except KafkaException as failure:
            raise translate(failure, "list the topics") from failure
        return frozenset(name for name, topic in found.items() if topic.error is None)

    def ensure(self, topic: str, partitions: int, replication: int, settings: Mapping[str, str]) -> None:
        """Create a topic unless it exists. Raises Retryable or Fatal if that fails."""
        if self.exists(topic):
            return
        wanted = NewTopic(topic, num_partitions=partitions, replication_factor=replication, config=dict(settings))
        future: Future[Any] = self._admin.create_topics([wanted], operation_timeout=ASK_SECONDS)[topic]
        try:
            future.result(ASK_SECONDS)
        except KafkaException as failure:
            error = error_of(failure)
            if error is None or error.code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(failure, f"create topic {topic!r}") from failure
        else:
            LOG.info("created topic %r with %d partitions", topic, partitions)

    def read(self, topic: str, received: Callable[[bytes | None, bytes | None, Any], None]) -> None:
        """Read a topic with one partition from its beginning, in a thread, until this is closed."""
        thread = Thread(f"tidemill-read-{topic}", lambda: self._read(topic, received))
        self._threads.append(thread)
        thread.start()

    def check(self) -> None:
        """Raise the failure of a thread, if there is one."""
        for thread in self._threads:
            thread.check()

    def close(self) -> None:
        """Deliver what is under way, and stop the threads."""
        with suppress(*CLIENT_FAILURES):
            self._producer.flush(FLUSH_SECONDS)
        self._stopped.set()
        for thread in self._threads:
            thread.join(FLUSH_SECONDS)

    def _poll(self) -> None:
        while not self._stopped.is_set():
            self._producer.poll(POLL_SECONDS)

    def _read(self, topic: str, received: Callable[[bytes | None, bytes | None, Any], None]) -> None:
        consumer = Consumer({**self._consumer_options, "enable.auto.commit": False, "auto.offset.reset": "earliest"})
        try:
            consumer.assign([KafkaPartition(topic, 0, FIRST_OFFSET)])
            while not self._stopped.is_set():
                message = consumer.poll(POLL_SECONDS)
                if message is None:
                    continue
                error = message.error()
                if error is None:
                    received(message.key(), message.value(), message.headers())
                elif not isinstance(translate(KafkaException(error), f"read {topic!r}"), Retryable):
                    LOG.warning("topic %r cannot be read: %s", topic, explain(error))
        finally:
            consumer.close()
