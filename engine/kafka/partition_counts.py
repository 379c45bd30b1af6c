"""Partition counts of output topics, if the engine itself chooses the partition of a row.

A count is requested when a topic is first written, and again at intervals, since topics grow. Counts outlive producers:
a new producer requests those that its predecessor knew before it writes anything, when a broker that does not answer
does no harm.
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
"""The number of keys per topic whose partition is cached."""
ASK_SECONDS = 10.0
REFRESH_SECONDS = 60.0


class _Choices(dict["bytes | int", int]):
    """The partitions of keys of one topic: one lookup for a key that was seen before.

    A partition that is chosen already, as a number, stays what it is.
    """

    def __init__(self, choose: Callable[[bytes], int]) -> None:
        super().__init__()
        self._choose = choose

    def __missing__(self, key: bytes | int) -> int:
        partition = key if isinstance(key, int) else self._choose(key)
        if len(self) >= REMEMBERED:
            self.clear()
        self[key] = partition
        return partition


ListTopics = Callable[[str, float], Any]
"""Requests the metadata of one topic, as the client does."""


class PartitionCounts:
    """Partition counts of topics, as one producer knows them."""

    def __init__(self, list_topics: ListTopics, now: Callable[[], float] = time.monotonic) -> None:
        self._list_topics = list_topics
        self._now = now
        self._counts: dict[str, int] = {}
        self._chosen: dict[str, _Choices] = {}
        self._wanted: set[str] = set()
        self._asked = now()

    @property
    def topics(self) -> frozenset[str]:
        """The topics with counts that are needed."""
        return frozenset(self._wanted)

    def chooser(self, topic: str) -> Callable[[bytes | int], int]:
        """Return the function from a key, or a number, to its partition, for the rows of one list.

        It raises Retryable if the count has to be requested and no broker answers.
        """
        choices = self._chosen.get(topic)
        if choices is None:
            choices = self._chosen[topic] = _Choices(lambda key: murmur2_partition(key, self.count(topic)))
        return choices.__getitem__

    def count(self, topic: str) -> int:
        """Return the number of partitions of a topic.

        Raises Retryable if it is unknown and no broker answers.
        """
        if topic not in self._counts:
            self._wanted.add(topic)
            self._counts[topic] = self._ask(topic)
        return self._counts[topic]

    def learn(self, topics: Iterable[str]) -> None:
        """Request the counts of topics that were written before, except for missing topics.

        A missing topic is reported by the write to it.
        """
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
        """Mark the counts as outdated, after a row was rejected."""
        self._asked = -REFRESH_SECONDS

    def refresh(self) -> None:
        """Request the counts again if they are old. A failed request leaves them as they are."""
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
                for choices in self._chosen.values():
                    choices.clear()

    def _ask(self, topic: str) -> int:
        with asking(f"write to topic {topic!r}"):
            found = self._found(topic)
            if found.error is not None:
                raise KafkaException(found.error)
        return len(found.partitions)

    def _found(self, topic: str) -> Any:
        return self._list_topics(topic, ASK_SECONDS).topics[topic]
