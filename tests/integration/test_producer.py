"""The records that the producer writes to a topic."""

from __future__ import annotations

from collections.abc import Callable

from tests.brokers import client
from tests.brokers.kafka import Kafka
from tidemill.engine.kafka.producer import PlainProducer
from tidemill.operators.record import Outgoing


def test_event_times_are_written_as_they_are_and_zero_as_one(kafka: Kafka, topic: Callable[..., str]) -> None:
    """The client interprets 0 as the current time, which would move the event time by half a century."""
    name = topic("times")
    producer = PlainProducer({"bootstrap.servers": kafka.bootstrap})
    producer.produce([Outgoing(name, [(b"k", b"v", time, None, -1) for time in (0, 1, 2, 1_700_000_000_000)])])
    producer.flush(30)
    producer.close()
    assert [row.timestamp for row in client.read(kafka.bootstrap, name)] == [1, 1, 2, 1_700_000_000_000]
