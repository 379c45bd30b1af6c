"""What an application left on the broker, as the verifier wants it: decoded rows, open transactions.

Bare clients only (`tests/brokers/client.py`). What the bytes mean and what they ought to be is the caller's business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.brokers import client

from .check import Row, Span


def rows(
    broker: str,
    topic: str,
    key: Callable[[bytes], Any],
    value: Callable[[bytes], Any],
    *,
    start: Mapping[int, int] | None = None,
) -> list[Row]:
    """All committed records of a topic, in order within each partition; None stays None."""
    return [
        Row(
            row.partition,
            row.offset,
            None if row.key is None else key(row.key),
            None if row.value is None else value(row.value),
        )
        for row in client.read(broker, topic, start=start)
    ]


def by_partition(offsets: Mapping[tuple[str, int], client.Offset], topic: str) -> dict[int, int]:
    """The committed offsets of one topic, by partition."""
    return {number: place.offset for (name, number), place in offsets.items() if name == topic}


def open_spans(broker: str, topics: Iterable[str], timeout: float = 5.0) -> list[Span]:
    """The partitions whose committed records end before the partition does.

    Waits a little for markers that are on their way; far less than the time after which a broker ends a transaction by
    itself.
    """
    deadline = time.monotonic() + timeout
    found: list[Span] = []
    for topic in topics:
        while (undecided := client.undecided(broker, topic)) and time.monotonic() < deadline:
            time.sleep(0.1)
        found.extend(Span(topic, number, *places) for number, places in undecided.items())
    return found
