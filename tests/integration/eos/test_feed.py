"""Test the feed and the reader on a real broker: all records are read, and open transactions are detected."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Producer

from tests.brokers import client
from tests.brokers.kafka import Kafka

from . import check, feed, read


def test_a_feed_is_read_as_it_was_written(kafka: Kafka, topic: Callable[..., str]) -> None:
    name = topic("data", partitions=3)
    with feed.Feed(kafka.bootstrap, name, rate=20_000, seed=3, keys=100) as source:
        deadline = time.monotonic() + 20
        while source.made < 5000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    rows = read.rows(kafka.bootstrap, name, bytes.decode, feed.decode)
    inputs = feed.Inputs(3, 100)
    made = sorted(inputs.next() for _ in range(source.made))
    assert sorted((row.key.encode(), row.value) for row in rows) == made
    for number in range(3):
        offsets = [row.offset for row in rows if row.partition == number]
        assert offsets == list(range(len(offsets)))
        assert offsets
    homes: dict[str, set[int]] = {}
    for row in rows:
        homes.setdefault(row.key, set()).add(row.partition)
    assert all(len(home) == 1 for home in homes.values())


def test_an_open_transaction_is_seen(kafka: Kafka, topic: Callable[..., str]) -> None:
    name = topic("out", partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{name}-t"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, b"1", b"k", 1)
    producer.flush(30)
    [finding] = check.no_open_transaction(read.open_spans(kafka.bootstrap, [name], timeout=0.3))
    assert f"{name}, partition 1" in finding
    assert read.rows(kafka.bootstrap, name, bytes, bytes) == []
    assert len(client.read(kafka.bootstrap, name, committed=False)) == 1
    producer.commit_transaction(30)
    assert check.no_open_transaction(read.open_spans(kafka.bootstrap, [name])) == []
    assert [row.value for row in read.rows(kafka.bootstrap, name, bytes, bytes)] == [b"1"]
