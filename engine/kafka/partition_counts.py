"""How many partitions the output topics have, where the engine itself chooses the partition of a row.

A count is asked for when a topic is first written, and again now and then, since topics grow. It outlives producers: a
new one asks for what its predecessor knew before it writes anything, when a broker that does not answer harms nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaException

from ..errors import TidemillError
from .errors import MISSING, asking
from .murmur2 import murmur2_partition

__all__ = ["PartitionCounts"]

REMEMBERED = 200_000
"""Keys whose partition is kept."""
ASK_SECONDS = 10.0
REFRESH_SECONDS = 60.0

ListTopics = Callable[[str, float], Any]
"""Asks the cluster for one topic, as the client does."""


class PartitionCounts:
    """Partition counts of topics, as one producer knows them."""

    def __init__(self, list_topics: ListTopics, now: Callable[[], float] = time.monotonic) -> None:
        self._list_topics = list_topics
        self._now = now
        self._counts: dict[str, int] = {}
        self._chosen: dict[tuple[str, bytes], int] = {}
        self._wanted: set[str] = set()
        self._asked = now()

    @property
    def topics(self) -> frozenset[str]:
        """The topics whose counts are needed."""
        return frozenset(self._wanted)

    def choose(self, topic: str, key: bytes) -> int:
        """The partition for a key. Raises Retryable when the count has to be asked for and nobody answers."""
        known = self._chosen.get((topic, key))
        if known is not None:
            return known
        if topic not in self._counts:
            self._wanted.add(topic)
            self._counts[topic] = self._ask(topic)
        if len(self._chosen) >= REMEMBERED:
            self._chosen.clear()
        number = self._chosen[topic, key] = murmur2_partition(key, self._counts[topic])
        return number

    def learn(self, topics: Iterable[str]) -> None:
        """Asks for topics that were written before. Those that are gone are left to whoever writes them."""
        for topic in topics:
            with asking(f"look at topic {topic!r}"):
                found = self._found(topic)
            error = found.error
            self._wanted.add(topic)
            if error is None:
                self._counts[topic] = len(found.partitions)
            elif error.code() not in MISSING:
                with asking(f"look at topic {topic!r}"):
                    raise KafkaException(error)

    def outdated(self) -> None:
        """What is known may be wrong: a row was not taken."""
        self._asked = -REFRESH_SECONDS

    def refresh(self) -> None:
        """Asks again when the answers are old. What is not answered stays as it is."""
        now = self._now()
        if not self._counts or now - self._asked < REFRESH_SECONDS:
            return
        self._asked = now
        before = dict(self._counts)
        try:
            self.learn(before)
        except TidemillError:
            return
        finally:
            if self._counts != before:
                self._chosen.clear()

    def _ask(self, topic: str) -> int:
        with asking(f"write to topic {topic!r}"):
            found = self._found(topic)
            if found.error is not None:
                raise KafkaException(found.error)
        return len(found.partitions)

    def _found(self, topic: str) -> Any:
        return self._list_topics(topic, ASK_SECONDS).topics[topic]
