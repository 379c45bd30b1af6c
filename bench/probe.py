"""A sender at a constant rate and a receiver of outputs, for latency and recovery jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from types import TracebackType

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from bench.events import Event
from bench.verify import Wrong, read_total

__all__ = ["Receipt", "Receiver", "Sender"]

_TICK = 0.002


class Sender:
    """A thread that sends events at a constant rate and records the time of each.

    `sent[key][n]` is the time at which record n of a key was sent, counted from 0.
    """

    def __init__(self, broker: str, topic: str, source: Iterator[Event], rate: int) -> None:
        self._producer = Producer(
            {"bootstrap.servers": broker, "linger.ms": 1, "compression.type": "lz4", "partitioner": "murmur2_random"}
        )
        self._topic = topic
        self._source = source
        self._rate = rate
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.sent: dict[str, list[float]] = {}

    def _run(self) -> None:
        begin = time.monotonic()
        number = 0
        while not self._stopping.is_set():
            due = int((time.monotonic() - begin) * self._rate)
            for _ in range(due - number):
                key, value, timestamp = next(self._source)
                self.sent.setdefault(key.decode(), []).append(time.monotonic())
                self._producer.produce(self._topic, value, key, timestamp=timestamp)
            number = due
            self._producer.poll(0)
            time.sleep(_TICK)

    def __enter__(self) -> Sender:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join()
        self._producer.flush(10)


Receipt = tuple[float, int, int, str, int]
"""Time of receipt, partition, offset, key and count."""


class Receiver:
    """A read_committed consumer of all partitions of an output topic, from the given offsets."""

    def __init__(self, broker: str, topic: str, begin: Sequence[int] = (0, 0, 0, 0)) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "bench-receiver",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.queue.backoff.ms": 5,
                "fetch.wait.max.ms": 50,
            }
        )
        self._consumer.assign([TopicPartition(topic, p, offset) for p, offset in enumerate(begin)])

    def receive(self, timeout: float) -> list[Receipt]:
        """Return the available outputs; wait for the first one for at most `timeout` seconds."""
        first = self._consumer.poll(timeout)
        if first is None:
            return []
        receipts: list[Receipt] = []
        for message in [first, *self._consumer.consume(1_000, 0)]:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    continue
                raise Wrong(f"cannot read the output: {error}")
            (key, _), count, _ = read_total(message.key() or b"", message.value() or b"null")
            receipts.append((time.monotonic(), message.partition() or 0, message.offset() or 0, key, count))
        return receipts

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._consumer.close()
