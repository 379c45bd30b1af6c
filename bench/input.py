"""Writing of the input into its topic, once per broker."""

from __future__ import annotations

import time
from collections.abc import Iterable

from confluent_kafka import Producer

from bench.events import Event, Shape, events
from bench.topics import Topics

__all__ = ["ensure", "write"]

_PARTITIONS = 4


def ensure(broker: str, shape: Shape) -> bool:
    """Write the topic of this shape unless it is complete; return whether it was written."""
    topics = Topics(broker)
    if shape.topic in topics.names():
        if sum(topics.ends(shape.topic)) == shape.records:
            return False
        topics.delete_containing(shape.topic)
        _wait_until_deleted(topics, shape.topic)
    topics.create(shape.topic, _PARTITIONS)
    write(broker, shape.topic, events(shape))
    written = sum(topics.ends(shape.topic))
    if written != shape.records:
        raise RuntimeError(f"{shape.topic} has {written} records, expected {shape.records}")
    return True


def write(broker: str, topic: str, source: Iterable[Event]) -> None:
    """Write the events into the topic, with the partitioner of Java clients."""
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "linger.ms": 100,
            "compression.type": "lz4",
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 500_000,
            "log_level": 3,
            "enable.idempotence": True,  # a retry must not add a record
        }
    )
    produce = producer.produce
    for number, (key, value, timestamp) in enumerate(source):
        if number % 5_000 == 0:
            producer.poll(0)
            while len(producer) > 400_000:
                producer.poll(0.05)
        produce(topic, value, key, timestamp=timestamp)
    producer.flush()


def _wait_until_deleted(topics: Topics, topic: str) -> None:
    while topic in topics.names():
        time.sleep(0.1)
