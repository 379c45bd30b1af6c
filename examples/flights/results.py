"""A read-committed consumer of the topics that the application writes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from heapq import nsmallest
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

HOURS = "tidemill-demo-airport-hours"
AIRLINES = "tidemill-demo-airlines"
REPEATS = "tidemill-demo-repeats"

Row = dict[str, Any]
Update = tuple[str, Any, Row]
"""Topic, key and value.

The key is (airport, start of the hour) for hours of airports, and (flight, scheduled departure) for repeats.
"""


def decode(message: Message) -> Update:
    """Decode a message into topic, key and value."""
    topic, key, value = message.topic() or "", message.key() or b"", message.value() or b"null"
    if topic == HOURS:
        # A windowed key has the format of Kafka Streams: the key, then the start of the window in 8 bytes.
        return topic, (key[:-8].decode(), int.from_bytes(key[-8:], "big", signed=True)), msgspec.json.decode(value)
    if topic == REPEATS:
        return topic, (key.decode(), message.timestamp()[1]), msgspec.json.decode(value)
    return topic, key.decode(), msgspec.json.decode(value)


def consumer(broker: str, topics: list[str], group: str) -> Consumer:
    """Return a consumer of all partitions from the beginning, which does not join its group."""
    created = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 10,
            "fetch.wait.max.ms": 100,
            "log_level": 0,
        }
    )
    metadata = created.list_topics(timeout=10).topics
    created.assign(
        [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in topics for number in metadata[topic].partitions]
    )
    return created


def read_all(broker: str, topics: list[str]) -> Iterator[Update]:
    """Yield all committed records up to the end; raise TimeoutError after 30 s without any."""
    reader = consumer(broker, topics, "tidemill-demo-verification")
    try:
        open_partitions = len(reader.assignment())
        empty_polls = 0
        while open_partitions:
            messages = reader.consume(1000, timeout=0.2)
            empty_polls = 0 if messages else empty_polls + 1
            if empty_polls > 150:
                raise TimeoutError("the broker sent no results for 30 s")
            for message in messages:
                error = message.error()
                if error is None:
                    yield decode(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    open_partitions -= 1
                else:
                    raise KafkaException(error)
    finally:
        reader.close()


class Results(threading.Thread):
    """A thread that consumes results as they are committed and keeps the latest ones."""

    def __init__(self, broker: str) -> None:
        super().__init__(name="results", daemon=True)
        self.hours: dict[tuple[str, int], Row] = {}
        self.airlines: dict[str, Row] = {}
        self.repeats = 0
        self.updates = 0
        self.failure: str | None = None
        self.by_hour = 0
        """The sum of the flights in all hours of airports so far."""
        self.by_airline = 0
        """The sum of the flights in all totals of airlines so far."""
        self._reader = consumer(broker, [HOURS, AIRLINES, REPEATS], "tidemill-demo-display")
        self._halt = threading.Event()

    def run(self) -> None:
        while not self._halt.is_set():
            for message in self._reader.consume(2000, timeout=0.2):
                error = message.error()
                if error is None:
                    self._add(*decode(message))
                elif error.fatal():
                    self.failure = error.str()
                    return

    def _add(self, topic: str, key: Any, row: Row) -> None:
        self.updates += 1
        if topic == REPEATS:
            self.repeats += 1
        elif topic == HOURS:
            before = self.hours.get(key)
            self.by_hour += row["flights"] - (before["flights"] if before else 0)
            self.hours[key] = row
        else:
            before = self.airlines.get(key)
            self.by_airline += row["flights"] - (before["flights"] if before else 0)
            self.airlines[key] = row

    def latest_hours(self, count: int) -> list[tuple[str, int, Row]]:
        """Return the newest hours of airports, newest first."""
        newest = nsmallest(count, self.hours.copy().items(), key=lambda item: (-item[0][1], item[0][0]))
        return [(airport, start, row) for (airport, start), row in newest]

    def largest_airlines(self, count: int) -> list[tuple[str, Row]]:
        """Return the airlines with the most flights so far."""
        return sorted(self.airlines.copy().items(), key=lambda item: -item[1]["flights"])[:count]

    def close(self) -> None:
        """Stop consuming."""
        self._halt.set()
        if self.is_alive():
            self.join(5)
        self._reader.close()
