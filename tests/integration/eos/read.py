"""Read the results of an application for the verifier: decoded rows, and open transactions.

Uses plain clients only (`tests/brokers/client.py`). The caller passes the decoders, and knows the expected results.
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
    """Return all committed records of a topic, in order within each partition; None stays None."""
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
    """Return the committed offsets of a topic, by partition."""
    return {number: place.offset for (name, number), place in offsets.items() if name == topic}


def open_spans(broker: str, topics: Iterable[str], timeout: float = 5.0) -> list[Span]:
    """Return the partitions whose last stable offset is before their end.

    Waits a little for transaction markers in flight, but much less than the transaction timeout.
    """
    deadline = time.monotonic() + timeout
    found: list[Span] = []
    for topic in topics:
        while (undecided := client.undecided(broker, topic)) and time.monotonic() < deadline:
            time.sleep(0.1)
        found.extend(Span(topic, number, *places) for number, places in undecided.items())
    return found
