"""What the application wrote, read from its topics as any other consumer would: committed records only."""

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
"""Topic, key, value. The key of an airport's hour is (airport, start of the hour), that of a flight that came twice
(flight, scheduled departure)."""


def decode(message: Message) -> Update:
    """A message as topic, key and value."""
    topic, key, value = message.topic() or "", message.key() or b"", message.value() or b"null"
    if topic == HOURS:
        # A windowed key is written as Kafka Streams does: the key, then the start of the window in 8 bytes.
        return topic, (key[:-8].decode(), int.from_bytes(key[-8:], "big", signed=True)), msgspec.json.decode(value)
    if topic == REPEATS:
        return topic, (key.decode(), message.timestamp()[1]), msgspec.json.decode(value)
    return topic, key.decode(), msgspec.json.decode(value)


def consumer(broker: str, topics: list[str], group: str) -> Consumer:
    """A consumer of all partitions of the topics from their beginning. It joins no group and commits nothing."""
    made = Consumer(
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
    found = made.list_topics(timeout=10).topics
    made.assign(
        [TopicPartition(topic, number, OFFSET_BEGINNING) for topic in topics for number in found[topic].partitions]
    )
    return made


def read_all(broker: str, topics: list[str]) -> Iterator[Update]:
    """Every committed record there is now, from the first on. Raises TimeoutError after 30 s of silence."""
    reader = consumer(broker, topics, "tidemill-demo-verdict")
    try:
        open_partitions = len(reader.assignment())
        silent = 0
        while open_partitions:
            messages = reader.consume(1000, timeout=0.2)
            silent = 0 if messages else silent + 1
            if silent > 150:
                raise TimeoutError("the broker gave no results for 30 s")
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
    """Follows the results as they are committed, for the eye and to know when everything has arrived."""

    def __init__(self, broker: str) -> None:
        super().__init__(name="results", daemon=True)
        self.hours: dict[tuple[str, int], Row] = {}
        self.airlines: dict[str, Row] = {}
        self.repeats = 0
        self.updates = 0
        self.failure: str | None = None
        self.by_hour = 0
        """Flights in the airports' hours so far."""
        self.by_airline = 0
        """Flights in the airlines' totals so far."""
        self._reader = consumer(broker, [HOURS, AIRLINES, REPEATS], "tidemill-demo-view")
        self._halt = threading.Event()

    def run(self) -> None:
        while not self._halt.is_set():
            for message in self._reader.consume(2000, timeout=0.2):
                error = message.error()
                if error is None:
                    self._take(*decode(message))
                elif error.fatal():
                    self.failure = error.str()
                    return

    def _take(self, topic: str, key: Any, row: Row) -> None:
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
        """The airports' newest hours, newest first."""
        newest = nsmallest(count, self.hours.copy().items(), key=lambda item: (-item[0][1], item[0][0]))
        return [(airport, start, row) for (airport, start), row in newest]

    def largest_airlines(self, count: int) -> list[tuple[str, Row]]:
        """The airlines with most flights so far."""
        return sorted(self.airlines.copy().items(), key=lambda item: -item[1]["flights"])[:count]

    def close(self) -> None:
        """Stops following."""
        self._halt.set()
        if self.is_alive():
            self.join(5)
        self._reader.close()
