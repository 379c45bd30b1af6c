"""Verification of the committed outputs of an engine against the expected ones."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition

from bench.answers import WITHIN
from bench.events import Expected

__all__ = ["Output", "Wrong", "committed_outputs", "read_total", "verify"]

Output = tuple[bytes, bytes]
"""Key and value."""

_TIMEOUT = 30.0


class Wrong(Exception):
    """The output of an engine is not as expected."""


def committed_outputs(broker: str, topic: str, partitions: int = 4) -> Iterator[Output]:
    """Yield all records committed to a topic so far, partition by partition."""
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
    deadline = time.monotonic() + _TIMEOUT
    try:
        while len(ended) < partitions:
            messages = consumer.consume(10_000, 0.2)
            if messages:
                deadline = time.monotonic() + _TIMEOUT
            elif time.monotonic() > deadline:
                raise Wrong(f"the end of {topic} cannot be read: a transaction is still open")
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
    """Return the number of outputs; raise Wrong if they are not those expected of the job.

    With `every`, each input that is not filtered out must have an output.
    """
    if job in ("J1", "J7"):
        written = _verify_all(outputs, job, right)
    elif job in ("J5", "J6"):
        written = _verify_windows(outputs, job, right)
    else:
        written = _verify_totals(outputs, right, every=every)
    if every and written != right.outputs:
        raise Wrong(f"{written} outputs, expected {right.outputs}")
    return written


def _verify_all(outputs: Iterable[Output], job: str, right: Expected) -> int:
    """Verify the sum of the outputs of J1 or J7, and return their number."""
    count = cents = 0
    for key, value in outputs:
        event = orjson.loads(value)
        if job == "J7":
            wrong = abs(event["viewed"] - event["bought"]) > WITHIN
        else:
            wrong = event["kind"] == "cart" or abs(event["gross"] - 1.2 * event["amount"]) > 1e-9
        if wrong:
            raise Wrong(f"an output is {event}")
        if key != event["user"].encode():
            raise Wrong(f"an output of {event['user']} has the key {key!r}")
        count += 1
        cents += round(event["amount"] * 100)
    if (count, cents) != right.totals["", 0]:
        raise Wrong(f"{count} outputs with {cents} cents, expected {right.totals['', 0]}")
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
            raise Wrong(f"the count of {place} goes from {before} to {count}")
        last[place] = count
        total[place] = amount
    for place, (count, cents) in right.totals.items():
        if last.get(place, 0) != count or abs(total[place] * 100 - cents) > 0.5:
            raise Wrong(
                f"{place} ends at {last.get(place, 0)}, {total.get(place)}; expected are {count}, {cents / 100}"
            )
    if len(last) != len(right.totals):
        raise Wrong(f"{len(last)} keys, expected {len(right.totals)}")
    return written


def _verify_windows(outputs: Iterable[Output], job: str, right: Expected) -> int:
    """Verify the last output of each window of J5 or J6, and return the number of outputs."""
    suffix = 16 if job == "J5" else 8  # of a session, its end and its start; of other windows, the start
    last: dict[tuple[bytes, bytes], tuple[int, float]] = {}
    written = 0
    for key, value in outputs:
        written += 1
        place = key[:-suffix], key[-suffix:]
        row = orjson.loads(value)
        if row is None:
            last.pop(place, None)
        else:
            last[place] = row["count"], row["total"]
    found = {(user.decode(), int.from_bytes(times[-8:], "big")): row for (user, times), row in last.items()}
    if len(found) != len(last):
        raise Wrong(f"{len(last) - len(found)} sessions begin with another one")
    for place, (count, cents) in right.totals.items():
        row = found.get(place, (0, 0.0))
        if row[0] != count or abs(row[1] * 100 - cents) > 0.5:
            raise Wrong(f"{place} ends at {row}; expected are {count}, {cents / 100}")
    if len(found) != len(right.totals):
        raise Wrong(f"{len(found)} windows, expected {len(right.totals)}")
    return written


def read_total(key: bytes, value: bytes) -> tuple[tuple[str, int], int, float]:
    """Decode key, start of the window, count and total of an output.

    The window is in the value, or in the last 8 bytes of the key, as in the windowed serde of Kafka Streams.
    """
    row = orjson.loads(value)
    start = row.get("start", 0)
    if len(key) > 8 and key[-8] == 0:  # keys have no zero byte, and the first byte of a time in ms is zero
        start = int.from_bytes(key[-8:], "big")
        key = key[:-8]
    return (key.decode(), start), row["count"], row["total"]
