"""What the bench asks of Kafka's administration: topics, where they end, what a group has committed."""

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
_PATIENCE = 30.0


def _wait(future: Future[T]) -> T:
    return future.result(_PATIENCE)


class Topics:
    """An administrator of one cluster."""

    def __init__(self, broker: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": broker, "log_level": 3})

    def names(self) -> set[str]:
        return set(self._admin.list_topics(timeout=_PATIENCE).topics)

    def create(self, topic: str, partitions: int = 4) -> None:
        """A topic that keeps everything: the records' times lie years back, so retention by time would empty it."""
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config={"retention.ms": "-1"})
        _wait(self._admin.create_topics([new])[topic])
        deadline = time.monotonic() + _PATIENCE
        while topic not in self.names():
            if time.monotonic() > deadline:
                raise TimeoutError(f"topic {topic} did not appear")
            time.sleep(0.05)

    def remove_containing(self, part: str) -> None:
        """Removes every topic whose name contains `part`."""
        doomed = [name for name in self.names() if part in name]
        if doomed:
            for future in self._admin.delete_topics(doomed).values():
                _wait(future)

    def ends(self, topic: str, partitions: int = 4) -> list[int]:
        """The offset after the last record of each partition, committed or not."""
        latest = OffsetSpec.latest()
        assert latest is not None
        asked: dict[TopicPartition, OffsetSpec] = {TopicPartition(topic, p): latest for p in range(partitions)}
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                futures: dict[TopicPartition, Future[ListOffsetsResultInfo]] = self._admin.list_offsets(asked)
                found = {place.partition: _wait(future).offset for place, future in futures.items()}
                return [found[p] for p in range(partitions)]
            except KafkaException:  # a new topic has no leader yet
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """The offsets that the group has committed; empty while it has none or its coordinator is not to be had."""
        try:
            [future] = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
            result = _wait(future)
        except KafkaException:
            return {}
        places: list[TopicPartition] = result.topic_partitions
        return {(place.topic, place.partition): place.offset for place in places if place.offset >= 0}

    def stable(self, group: str) -> bool:
        """Whether the group has members and all of them have their partitions."""
        try:
            [future] = self._admin.describe_consumer_groups([group]).values()
            found = _wait(future)
        except KafkaException:
            return False
        return found.state == ConsumerGroupState.STABLE and len(found.members) > 0
