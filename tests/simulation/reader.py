"""Simulated consumer and admin client of librdkafka for the in-memory Kafka, as far as the engine uses them.

Manual assignment, one end-of-partition event each time the end is reached, and batches cut at random. For a
read_committed consumer the end of a partition is the last stable offset, as in the library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaError, KafkaException
from confluent_kafka.admin import OffsetSpec

from tidemill.state.topic_partition import TopicPartition

from .broker import Broker, Unreachable
from .log import Entry
from .world import Owner, World

__all__ = ["SimulatedAdmin", "SimulatedConsumer"]


class Message:
    """A record or an event of a partition."""

    __slots__ = ("_entry", "_error", "_key")

    def __init__(self, key: TopicPartition, entry: Entry | None, error: tuple[int, int] | None = None) -> None:
        self._key = key
        self._entry = entry
        self._error = error

    def error(self) -> KafkaError | None:
        return None if self._error is None else KafkaError(self._error[0])

    def topic(self) -> str:
        return self._key[0]

    def partition(self) -> int:
        return self._key[1]

    def offset(self) -> int:
        return self._entry.offset if self._entry is not None else (self._error or (0, 0))[1]

    def key(self) -> bytes | None:
        assert self._entry is not None
        return self._entry.key

    def value(self) -> bytes | None:
        assert self._entry is not None
        return self._entry.value

    def headers(self) -> list[tuple[str, bytes]] | None:
        assert self._entry is not None
        return self._entry.headers

    def timestamp(self) -> tuple[int, int]:
        assert self._entry is not None
        return (1, self._entry.timestamp)


class Assigned:
    """An assigned partition."""

    __slots__ = ("end", "offset", "told")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.told = -1
        """The end that was reported last."""
        self.end = -1001


class SimulatedConsumer:
    """A consumer of a process."""

    def __init__(self, world: World, broker: Broker, owner: Owner, options: Mapping[str, Any]) -> None:
        self._world = world
        self._broker = broker
        self._owner = owner
        self._committed = options["isolation.level"] == "read_committed"
        self._assigned: dict[TopicPartition, Assigned] = {}
        self._paused: set[TopicPartition] = set()
        """Paused partitions. As in librdkafka, a partition that is paused and then unassigned is still paused when it
        is assigned again."""

    def incremental_assign(self, partitions: Sequence[Any]) -> None:
        for p in partitions:
            key = (p.topic, p.partition)
            if key in self._assigned:
                raise KafkaException(KafkaError(KafkaError._CONFLICT, f"{key} is assigned already"))
            assert p.offset >= 0
            self._assigned[key] = Assigned(p.offset)

    def incremental_unassign(self, partitions: Sequence[Any]) -> None:
        for p in partitions:
            if (p.topic, p.partition) not in self._assigned:
                raise KafkaException(KafkaError(KafkaError._INVALID_ARG, f"{p} is not assigned"))
            del self._assigned[p.topic, p.partition]

    def pause(self, partitions: Sequence[Any]) -> None:
        for p in partitions:
            assert (p.topic, p.partition) in self._assigned
            self._paused.add((p.topic, p.partition))

    def resume(self, partitions: Sequence[Any]) -> None:
        for p in partitions:
            self._paused.discard((p.topic, p.partition))

    def get_watermark_offsets(self, partition: Any, *, cached: bool) -> tuple[int, int]:
        assert cached
        found = self._assigned.get((partition.topic, partition.partition))
        return (-1001, -1001 if found is None else found.end)

    def consume(self, limit: int, timeout: float) -> list[Message]:
        if timeout > 0:
            self._world.wait(self._something, int(timeout * 1000))
        else:
            self._world.pause("poll")
        if not self._assigned or not self._broker.reachable(self._owner.name):
            return []
        found: list[Message] = []
        chance = self._world.random
        keys = list(self._assigned)
        if len(keys) > 1:
            chance.shuffle(keys)
        for key in keys:
            one = self._assigned[key]
            if key not in self._paused:
                whole = self._broker.network.whole > chance.random()
                most = limit if whole else chance.choice((1, 3, 10, limit))
                self._take(key, one, found, min(limit - len(found), most))
                if len(found) >= limit:
                    break
        return found

    def close(self) -> None:
        self._assigned.clear()

    def _something(self) -> bool:
        """Return whether anything can be returned."""
        if not self._broker.reachable(self._owner.name):
            return False
        for key, one in self._assigned.items():
            if key not in self._paused:
                end = self._end(key)
                if one.offset < end or (one.offset == end and one.told != end):
                    return True
        return False

    def _end(self, key: TopicPartition) -> int:
        if key[0] not in self._broker.topics:
            return -1
        log = self._broker.partition(key)
        return log.stable if self._committed else log.end

    def _take(self, key: TopicPartition, one: Assigned, found: list[Message], limit: int) -> None:
        if key[0] not in self._broker.topics:
            found.append(Message(key, None, (KafkaError.UNKNOWN_TOPIC_OR_PART, -1)))
            return
        log = self._broker.partition(key)
        end = one.end = self._end(key)
        if one.offset < log.begin or one.offset > log.end:
            found.append(Message(key, None, (KafkaError._AUTO_OFFSET_RESET, one.offset)))
            return
        for entry in log.read(one.offset, end, committed=self._committed):
            if limit <= 0:
                return
            found.append(Message(key, entry))
            one.offset = entry.offset + 1
            limit -= 1
        if limit > 0 and one.offset <= end and one.told != end:
            one.offset = one.told = end
            found.append(Message(key, None, (KafkaError._PARTITION_EOF, end)))


class Done:
    """A completed future."""

    def __init__(self, value: Any, failure: Exception | None = None) -> None:
        self._value = value
        self._failure = failure

    def result(self, timeout: float | None = None) -> Any:
        if self._failure is not None:
            raise self._failure
        return self._value


class SimulatedAdmin:
    """An admin client. For an unavailable leader it sometimes returns an error, and sometimes neither an offset nor
    an error, as the real one does."""

    def __init__(self, world: World, broker: Broker, owner: Owner) -> None:
        self._world = world
        self._broker = broker
        self._owner = owner
        self._unanswered = 0

    def list_offsets(
        self, asked: Mapping[Any, Any], *, isolation_level: IsolationLevel, request_timeout: float
    ) -> dict[Any, Done]:
        committed = isolation_level == IsolationLevel.READ_COMMITTED

        def offsets() -> dict[Any, Done]:
            return {p: Done(SimpleNamespace(offset=self._offset(p, spec, committed))) for p, spec in asked.items()}

        try:
            return self._broker.call(self._owner.name, "list offsets", offsets)
        except Unreachable as lost:
            self._unanswered += 1
            if self._unanswered % 2 == 0:
                return {p: Done(SimpleNamespace(offset=OFFSET_INVALID)) for p in asked}
            failure = KafkaException(KafkaError(KafkaError._TIMED_OUT, str(lost), False, True))
            return {p: Done(None, failure) for p in asked}

    def describe_topics(self, asked: Any, *, request_timeout: float) -> dict[str, Done]:
        names = list(asked.topic_names)
        try:
            return self._broker.call(self._owner.name, "describe", lambda: {it: self._described(it) for it in names})
        except Unreachable as lost:
            failure = KafkaException(KafkaError(KafkaError._TIMED_OUT, str(lost), False, True))
            return {name: Done(None, failure) for name in names}

    def _described(self, name: str) -> Done:
        if name not in self._broker.topics:
            return Done(None, KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, name)))
        count = len(self._broker.topics[name])
        partitions = [SimpleNamespace(id=number, leader=None) for number in range(count)]
        return Done(SimpleNamespace(topic_id=self._broker.topic_ids[name], partitions=partitions))

    def list_topics(self, *, timeout: float) -> Any:
        """Refresh metadata: called after a failure, so that the client finds new leaders."""
        topics = self._broker.topics
        try:
            self._broker.call(self._owner.name, "list topics", lambda: None)
        except Unreachable as lost:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT, str(lost), False, True)) from lost
        return SimpleNamespace(
            topics={name: SimpleNamespace(error=None, partitions=dict(enumerate(topics[name]))) for name in topics}
        )

    def describe_configs(self, resources: Sequence[Any], *, request_timeout: float) -> dict[Any, Done]:
        entry = SimpleNamespace(value=str(self._broker.deletions_kept))
        try:
            self._broker.call(self._owner.name, "describe configs", lambda: None)
        except Unreachable as lost:
            failure = KafkaException(KafkaError(KafkaError._TIMED_OUT, str(lost), False, True))
            return {resource: Done(None, failure) for resource in resources}
        return {resource: Done({"delete.retention.ms": entry}) for resource in resources}

    def delete_records(self, partitions: Sequence[Any]) -> None:
        def delete() -> None:
            self._broker.before_delete()
            for p in partitions:
                self._broker.partition((p.topic, p.partition)).delete_before(p.offset)

        if self._broker.reachable(self._owner.name):
            self._world.later(self._broker.delay(), delete)

    def _offset(self, partition: Any, spec: Any, committed: bool) -> int:
        log = self._broker.partition((partition.topic, partition.partition))
        if spec is OffsetSpec.earliest():
            return log.begin
        assert spec is OffsetSpec.latest()
        return log.stable if committed else log.end
