"""Reads what an engine wrote, read_committed, and holds it against what must be there: a wrong engine is not fast."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.events import Expected

__all__ = ["Output", "Wrong", "committed_outputs", "read_total", "verify"]

Output = tuple[bytes, bytes]
"""Key and value."""

_PATIENCE = 30.0


class Wrong(Exception):
    """What is wrong with the output."""


def committed_outputs(broker: str, topic: str, partitions: int = 4) -> Iterator[Output]:
    """All that is committed in a topic as it stands now, partition by partition in order."""
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
            messages = consumer.consume(10_000, 0.2)
            if messages:
                deadline = time.monotonic() + _PATIENCE
            elif time.monotonic() > deadline:
                raise Wrong(f"{topic} does not end: a transaction was left open")
            for message in messages:
                error = message.error()
                if error is None:
                    yield message.key() or b"", message.value() or b"null"
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition() or 0)
                else:
                    raise Wrong(f"cannot read {topic}: {error}")
    finally:
        consumer.close()


def verify(outputs: Iterable[Output], job: str, right: Expected, *, every: bool) -> int:
    """The number of outputs; raises Wrong when they are not what the job must write.

    With `every`, each input that counts has an output of its own.
    """
    written = _verify_map(outputs, right) if job == "J1" else _verify_totals(outputs, right, every=every)
    if every and written != right.outputs:
        raise Wrong(f"{written} outputs in place of {right.outputs}")
    return written


def _verify_map(outputs: Iterable[Output], right: Expected) -> int:
    count = cents = 0
    for key, value in outputs:
        event = orjson.loads(value)
        if event["kind"] == "cart" or abs(event["gross"] - 1.2 * event["amount"]) > 1e-9:
            raise Wrong(f"an output is {event}")
        if key != event["user"].encode():
            raise Wrong(f"an output of {event['user']} has the key {key!r}")
        count += 1
        cents += round(event["amount"] * 100)
    if (count, cents) != right.totals["", 0]:
        raise Wrong(f"{count} outputs with {cents} cents; there must be {right.totals['', 0]}")
    return count


def _verify_totals(outputs: Iterable[Output], right: Expected, *, every: bool) -> int:
    last: dict[tuple[str, int], int] = {}
    total: dict[tuple[str, int], float] = {}
    written = 0
    for key, value in outputs:
        written += 1
        place, count, amount = read_total(key, value)
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


def read_total(key: bytes, value: bytes) -> tuple[tuple[str, int], int, float]:
    """Key, start of the window, count and total of an output.

    The window is in the value, or in the last 8 bytes of the key as Kafka Streams' own serde for windowed keys has it.
    """
    row = orjson.loads(value)
    start = row.get("start", 0)
    if len(key) > 8 and key[-8] == 0:  # no text has a zero byte, and no time in ms needs the first of eight
        start = int.from_bytes(key[-8:], "big")
        key = key[:-8]
    return (key.decode(), start), row["count"], row["total"]
