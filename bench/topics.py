"""Requests to Kafka's admin API: topics, end offsets, committed offsets, group states."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TypeVar

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ListOffsetsResultInfo, NewTopic, OffsetSpec

__all__ = ["Topics"]

T = TypeVar("T")
_TIMEOUT = 30.0


def _wait(future: Future[T]) -> T:
    return future.result(_TIMEOUT)


class Topics:
    """An admin client of one cluster."""

    def __init__(self, broker: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": broker, "log_level": 3})

    def names(self) -> set[str]:
        return set(self._admin.list_topics(timeout=_TIMEOUT).topics)

    def create(self, topic: str, partitions: int = 4) -> None:
        """Create a topic without retention by time, which would delete its records, as they are old."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config={"retention.ms": "-1"})
        _wait(self._admin.create_topics([new])[topic])
        deadline = time.monotonic() + _TIMEOUT
        while topic not in self.names():
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {topic} did not appear")
            time.sleep(0.05)

    def delete_containing(self, part: str) -> None:
        """Delete all topics whose names contain `part`."""
        names = [name for name in self.names() if part in name]
        if names:
            for future in self._admin.delete_topics(names).values():
                _wait(future)

    def ends(self, topic: str, partitions: int = 4) -> list[int]:
        """Return the end offset of each partition, including uncommitted records."""
        latest = OffsetSpec.latest()
        assert latest is not None
        request: dict[TopicPartition, OffsetSpec] = {TopicPartition(topic, p): latest for p in range(partitions)}
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                futures: dict[TopicPartition, Future[ListOffsetsResultInfo]] = self._admin.list_offsets(request)
                found = {each.partition: _wait(future).offset for each, future in futures.items()}
                return [found[p] for p in range(partitions)]
            except KafkaException:  # a new topic has no leader yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """Return the committed offsets of the group, none while its coordinator is not available.

        librdkafka 2.16 crashes in this request if the coordinator is still loading, so the group is described first.
        """
        if self._members(group) is None:
            return {}
        try:
            [future] = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
            result = _wait(future)
        except KafkaException:
            return {}
        offsets: list[TopicPartition] = result.topic_partitions
        return {(each.topic, each.partition): each.offset for each in offsets if each.offset >= 0}

    def empty(self, group: str) -> bool:
        """Return whether the group has no members."""
        return self._members(group) == 0

    def _members(self, group: str) -> int | None:
        """Return the number of members, None while the coordinator is not available."""
        try:
            [future] = self._admin.describe_consumer_groups([group]).values()
            return len(_wait(future).members)
        except KafkaException:
            return None

    def stable(self, group: str) -> bool:
        """Return whether the group is stable and has members."""
        try:
            [future] = self._admin.describe_consumer_groups([group]).values()
            found = _wait(future)
        except KafkaException:
            return False
        return found.state == ConsumerGroupState.STABLE and len(found.members) > 0
