"""What tests and independent verifiers ask of a broker, on bare confluent_kafka alone: nothing here knows the product.

Reading is by whole topics up to their end as it is now; rows come back in offset order within a partition, partitions
one after the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

T = TypeVar("T")
_TIMEOUT = 30.0
_EARLIEST: Any = OffsetSpec.earliest()
_LATEST: Any = OffsetSpec.latest()
_COMMITTED = {True: "read_committed", False: "read_uncommitted"}


class Row(NamedTuple):
    """A record as it lies in a topic.

    When producing, a partition of -1 leaves the choice to the key and a timestamp of 0 to the clock.
    """

    key: bytes | None
    value: bytes | None
    partition: int = -1
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int = -1


class Offset(NamedTuple):
    """What a group committed for a partition."""

    offset: int
    metadata: str


def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create_topic(
    bootstrap: str, topic: str, partitions: int = 1, *, replication: int = -1, config: Mapping[str, str] | None = None
) -> None:
    """Make a topic and wait until every broker that may be asked knows it. -1: the broker's default replication."""
    client = admin(bootstrap)
    _only(client.create_topics([NewTopic(topic, partitions, replication, config=dict(config or {}))]))

    def known() -> bool:
        found = client.list_topics(topic, timeout=5).topics[topic]
        return (
            found.error is None
            and len(found.partitions) == partitions
            and all(p.leader >= 0 for p in found.partitions.values())
        )

    wait_for(known, 15, f"topic {topic} to appear")


def delete_topic(bootstrap: str, topic: str) -> None:
    _only(admin(bootstrap).delete_topics([topic]))


def add_partitions(bootstrap: str, topic: str, total: int) -> None:
    _only(admin(bootstrap).create_partitions([NewPartitions(topic, total)]))


def topics(bootstrap: str) -> dict[str, int]:
    """The partition count of each topic."""
    return {
        name: len(topic.partitions) for name, topic in admin(bootstrap).list_topics(timeout=_TIMEOUT).topics.items()
    }


def topic_config(bootstrap: str, topic: str) -> dict[str, str]:
    from_broker = _only(admin(bootstrap).describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    return {name: entry.value for name, entry in from_broker.items()}


def produce(
    bootstrap: str,
    topic: str,
    rows: Iterable[Row | tuple[bytes | None, bytes | None]],
    config: Mapping[str, Any] | None = None,
) -> int:
    """Send rows, or (key, value) pairs, in order and wait until all are acknowledged.

    Keys go where the Java client puts them. Returns how many.
    """
    failures: list[KafkaError] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "linger.ms": 5,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 0,
            **(config or {}),
        }
    )

    def delivered(error: KafkaError | None, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    sent = 0
    for row in rows:
        row = row if isinstance(row, Row) else Row(row[0], row[1])
        while True:
            try:
                producer.produce(
                    topic,
                    key=row.key,
                    value=row.value,
                    partition=row.partition,
                    timestamp=row.timestamp,
                    headers=list(row.headers),
                    on_delivery=delivered,
                )
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        if sent % 1000 == 0:
            producer.poll(0)
    left = producer.flush(60)
    if left or failures:
        raise RuntimeError(
            f"{left} of {sent} records to {topic} were not acknowledged, {len(failures)} failed: {failures[:3]}"
        )
    return sent


def read(
    bootstrap: str,
    topic: str,
    *,
    committed: bool = True,
    partitions: Sequence[int] | None = None,
    start: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
) -> list[Row]:
    """All records of a topic, from `start` (next offsets; the beginning) up to `until` (the end as it is now)."""
    wanted = range(topics(bootstrap)[topic]) if partitions is None else partitions
    ends = end_offsets(bootstrap, topic, committed=committed)
    consumer = _reader(bootstrap, committed)
    try:
        return [
            row for p in wanted for row in _read_partition(consumer, topic, p, (start or {}).get(p), (until or ends)[p])
        ]
    finally:
        consumer.close()


def _read_partition(consumer: Consumer, topic: str, partition: int, start: int | None, end: int) -> list[Row]:
    low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_TIMEOUT, cached=False) or (0, 0)
    position = low if start is None else max(low, start)
    rows: list[Row] = []
    if position >= end:
        return rows
    consumer.assign([TopicPartition(topic, partition, position)])
    deadline = time.monotonic() + 60
    while position < end:
        for message in consumer.consume(10_000, 0.2):
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            offset = message.offset()
            assert offset is not None
            if error is not None:  # the end, past transaction markers that are never delivered
                position = max(position, offset)
            elif offset < end:
                _, timestamp = message.timestamp()
                headers = tuple((name, _as_bytes(value)) for name, value in message.headers() or ())
                rows.append(Row(message.key(), message.value(), partition, timestamp, headers, offset))
                position = offset + 1
            else:
                position = end
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic}-{partition} was read only to offset {position} of {end}")
    return rows


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def changelog(bootstrap: str, topic: str) -> dict[int, dict[bytes, bytes]]:
    """What the committed records of a compacted topic add up to: the last value of each key, by partition."""
    state: dict[int, dict[bytes, bytes]] = {partition: {} for partition in range(topics(bootstrap)[topic])}
    for row in read(bootstrap, topic):
        assert row.key is not None, "a record of a compacted topic has a key"
        if row.value is None:
            state[row.partition].pop(row.key, None)
        else:
            state[row.partition][row.key] = row.value
    return state


def end_offsets(bootstrap: str, topic: str, *, committed: bool = False) -> dict[int, int]:
    """The offset after the last record of each partition.

    With `committed`, after the last one that a read_committed reader may see.
    """
    return _offsets(bootstrap, topic, _LATEST, committed)


def begin_offsets(bootstrap: str, topic: str) -> dict[int, int]:
    return _offsets(bootstrap, topic, _EARLIEST, False)


def _offsets(bootstrap: str, topic: str, spec: Any, committed: bool) -> dict[int, int]:
    client = admin(bootstrap)
    asked = {
        TopicPartition(topic, p): spec
        for p in range(len(client.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions))
    }
    level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
    answers = client.list_offsets(asked, isolation_level=level, request_timeout=_TIMEOUT)
    return {place.partition: future.result().offset for place, future in answers.items()}


def undecided(bootstrap: str, topic: str) -> dict[int, tuple[int, int]]:
    """The partitions with an open transaction.

    (last stable offset, end offset). Empty: every transaction was committed or aborted.
    """
    stable, end = end_offsets(bootstrap, topic, committed=True), end_offsets(bootstrap, topic)
    return {partition: (stable[partition], end[partition]) for partition in end if stable[partition] < end[partition]}


def committed(bootstrap: str, group: str) -> dict[tuple[str, int], Offset]:
    """What a group committed, by (topic, partition)."""
    answer = _only(
        admin(bootstrap).list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], require_stable=True)
    )
    return {
        (p.topic, p.partition): Offset(p.offset, p.metadata or "") for p in answer.topic_partitions if p.offset >= 0
    }


def committed_offsets(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """The next offset that a group committed for each partition of a topic; 0 where it committed nothing."""
    found = {
        partition: place.offset for (name, partition), place in committed(bootstrap, group).items() if name == topic
    }
    return {partition: found.get(partition, 0) for partition in range(topics(bootstrap)[topic])}


def lag(bootstrap: str, group: str, topic: str) -> int:
    """How many offsets of a topic a group has not committed yet."""
    done = committed_offsets(bootstrap, group, topic)
    return sum(
        max(0, end - done[partition]) for partition, end in end_offsets(bootstrap, topic, committed=True).items()
    )


def members(bootstrap: str, group: str) -> list[Any]:
    """The members of a group, as confluent_kafka describes them."""
    return list(_only(admin(bootstrap).describe_consumer_groups([group])).members)


def wait_for(condition: Callable[[], T], timeout: float, what: str) -> T:
    """Ask until the answer is true, and return it.

    TimeoutError says what was waited for, and the last answer. Kafka errors count as not yet.
    """
    deadline = time.monotonic() + timeout
    last: object = None
    while True:
        try:
            answer = condition()
            if answer:
                return answer
            last = answer
        except KafkaException as error:
            last = error
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:g} s for {what}; the last answer was {last!r}")
        time.sleep(0.1)


def _reader(bootstrap: str, committed: bool) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests-reader",  # never joined: partitions are assigned by hand and nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": _COMMITTED[committed],
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
    )


def _only(futures: Mapping[Any, Future[Any]]) -> Any:
    """The result of a request about one thing."""
    (future,) = futures.values()
    return future.result(_TIMEOUT)
