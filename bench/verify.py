"""Reads what an engine wrote, read_committed, and holds it against what must be there: a wrong engine is not fast."""

from __future__ import annotations

import time
from collections.abc import Iterator

import orjson
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from bench.events import Expected

__all__ = ["Wrong", "committed_messages", "verify"]

_PATIENCE = 30.0


class Wrong(Exception):
    """What is wrong with the output."""


def committed_messages(broker: str, topic: str, partitions: int = 4) -> Iterator[list[Message]]:
    """All committed messages of a topic as it stands now, in lists."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": "bench-verify",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.queue.backoff.ms": 5,
        }
    )
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    ended: set[int] = set()
    deadline = time.monotonic() + _PATIENCE
    try:
        while len(ended) < partitions:
            messages: list[Message] = []
            for message in consumer.consume(10_000, 0.2):
                error = message.error()
                if error is None:
                    messages.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition() or 0)
                else:
                    raise Wrong(f"cannot read {topic}: {error}")
            if messages:
                deadline = time.monotonic() + _PATIENCE
                yield messages
            elif time.monotonic() > deadline:
                raise Wrong(f"{topic} does not end: a transaction was left open")
    finally:
        consumer.close()


def verify(broker: str, topic: str, job: str, right: Expected, outputs: str) -> int:
    """The number of outputs; raises Wrong when they are not what the job must write."""
    if job == "J1":
        return _verify_map(broker, topic, right)
    return _verify_totals(broker, topic, right, every=outputs == "update")


def _verify_map(broker: str, topic: str, right: Expected) -> int:
    count = cents = 0
    for messages in committed_messages(broker, topic):
        for message in messages:
            event = orjson.loads(message.value() or b"null")
            if event["kind"] == "cart" or abs(event["gross"] - 1.2 * event["amount"]) > 1e-9:
                raise Wrong(f"an output is {event}")
            if message.key() != event["user"].encode():
                raise Wrong(f"an output of {event['user']} has the key {message.key()!r}")
            count += 1
            cents += round(event["amount"] * 100)
    if (count, cents) != right.totals["", 0]:
        raise Wrong(f"{count} outputs with {cents} cents; there must be {right.totals['', 0]}")
    return count


def _verify_totals(broker: str, topic: str, right: Expected, *, every: bool) -> int:
    last: dict[tuple[str, int], int] = {}
    total: dict[tuple[str, int], float] = {}
    written = 0
    for messages in committed_messages(broker, topic):
        for message in messages:
            written += 1
            place, count, amount = read_total(message)
            before = last.get(place, 0)
            if count <= before or (every and count != before + 1):
                raise Wrong(f"{place} goes from {before} to {count}")
            last[place] = count
            total[place] = amount
    for place, (count, cents) in right.totals.items():
        if last.get(place, 0) != count or abs(total[place] * 100 - cents) > 0.5:
            raise Wrong(f"{place} ends at {last.get(place, 0)}, {total.get(place)}; right is {count}, {cents / 100}")
    if len(last) != len(right.totals):
        raise Wrong(f"{len(last)} keys in place of {len(right.totals)}")
    return written


def read_total(message: Message) -> tuple[tuple[str, int], int, float]:
    """Key, start of the window, count and total of an output.

    The window is in the value, or in the last 8 bytes of the key as Kafka Streams' own serde for windowed keys has it.
    """
    value = orjson.loads(message.value() or b"null")
    key = message.key() or b""
    start = value.get("start", 0)
    if len(key) > 8 and key[-8] == 0:  # no text has a zero byte, and no time in ms needs the first of eight
        start = int.from_bytes(key[-8:], "big")
        key = key[:-8]
    return (key.decode(), start), value["count"], value["total"]
