"""Helpers for tests and independent verifiers to use a broker, on confluent_kafka only: no code of Tidemill.

Topics are read completely up to their current end; rows are in offset order within a partition, one partition after
the other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from tests.support.patience import wait_for

_TIMEOUT = 30.0
_EARLIEST: Any = OffsetSpec.earliest()
_LATEST: Any = OffsetSpec.latest()
_NO_LEADER_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
_COMMITTED = {True: "read_committed", False: "read_uncommitted"}


class Row(NamedTuple):
    """A record of a topic.

    When producing, partition -1 means by key, and timestamp 0 means the current time.
    """

    key: bytes | None
    value: bytes | None
    partition: int = -1
    timestamp: int = 0
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int = -1


class Offset(NamedTuple):
    """The offset and metadata that a group committed for a partition."""

    offset: int
    metadata: str


def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create_topic(
    bootstrap: str, topic: str, partitions: int = 1, *, replication: int = -1, config: Mapping[str, str] | None = None
) -> None:
    """Create a topic, and wait until its leaders are known and respond. -1: the broker's default replication.

    Metadata names the leader of a partition before the leader itself accepts requests for it.
    """
    _ask(bootstrap, lambda c: c.create_topics([NewTopic(topic, partitions, replication, config=dict(config or {}))]))
    client = admin(bootstrap)

    def known() -> bool:
        found = client.list_topics(topic, timeout=5).topics[topic]
        return (
            found.error is None
            and len(found.partitions) == partitions
            and all(p.leader >= 0 for p in found.partitions.values())
        )

    def led() -> bool:
        try:
            end_offsets(bootstrap, topic)
        except KafkaException as failure:
            if failure.args[0].code() in _NO_LEADER_YET:
                return False
            raise
        return True

    wait_for(known, 15, f"topic {topic} to appear")
    wait_for(led, 15, f"the leaders of topic {topic} to take up their offices")


def delete_topic(bootstrap: str, topic: str) -> None:
    _ask(bootstrap, lambda c: c.delete_topics([topic]))


def add_partitions(bootstrap: str, topic: str, total: int) -> None:
    _ask(bootstrap, lambda c: c.create_partitions([NewPartitions(topic, total)]))


def topics(bootstrap: str) -> dict[str, int]:
    """Return the partition count of each topic."""
    return {
        name: len(topic.partitions) for name, topic in admin(bootstrap).list_topics(timeout=_TIMEOUT).topics.items()
    }


def topic_config(bootstrap: str, topic: str) -> dict[str, str]:
    from_broker = _ask(bootstrap, lambda c: c.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
    return {name: entry.value for name, entry in from_broker.items()}


def produce(
    bootstrap: str,
    topic: str,
    rows: Iterable[Row | tuple[bytes | None, bytes | None]],
    config: Mapping[str, Any] | None = None,
) -> int:
    """Send rows, or (key, value) pairs, in order, and wait until all are acknowledged.

    Keys are partitioned as by the Java client. Returns the number of records.
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

    with suppress(KafkaException):
        producer.list_topics(
            topic, timeout=1
        )  # an idempotent producer without a connection would wait for half a second
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


def transactional_producer(bootstrap: str, transactional_id: str, config: Mapping[str, Any] | None = None) -> Producer:
    """Return a producer with initialized transactions; a second one with the same id fences the first."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": transactional_id, "log_level": 0, **(config or {})}
    )
    producer.init_transactions(_TIMEOUT)
    return producer


def group_metadata(bootstrap: str, group: str) -> Any:
    """Return the argument of send_offsets_to_transaction for a group without members."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    try:
        return consumer.consumer_group_metadata()
    finally:
        consumer.close()


def read(
    bootstrap: str,
    topic: str,
    *,
    committed: bool = True,
    partitions: Sequence[int] | None = None,
    start: Mapping[int, int] | None = None,
    until: Mapping[int, int] | None = None,
) -> list[Row]:
    """Return all records of a topic, from `start` (default: the beginning) to `until` (default: the current end)."""
    ends = dict(end_offsets(bootstrap, topic, committed=committed) if until is None else until)
    begins = begin_offsets(bootstrap, topic)
    wanted = sorted(ends) if partitions is None else partitions
    positions = {p: max(begins[p], (start or {}).get(p, 0)) for p in wanted}
    rows: dict[int, list[Row]] = {p: [] for p in wanted}
    consumer = _reader(bootstrap, committed)
    try:
        left = {p for p in wanted if positions[p] < ends[p]}
        consumer.assign([TopicPartition(topic, p, positions[p]) for p in left])
        deadline = time.monotonic() + 120
        while left:
            for message in consumer.consume(10_000, 0.02):
                partition, offset, error = message.partition(), message.offset(), message.error()
                assert partition is not None
                assert offset is not None
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    raise KafkaException(error)
                if error is None and offset < ends[partition]:
                    rows[partition].append(_row(message, partition, offset))
                # Transaction markers at the end are never delivered: only the end-of-partition event reveals them.
                if offset + (error is None) >= ends[partition]:
                    left.discard(partition)
            if time.monotonic() > deadline:
                raise TimeoutError(f"the end of {topic} was not reached in partitions {sorted(left)}")
    finally:
        consumer.close()
    return [row for p in wanted for row in rows[p]]


def _row(message: Message, partition: int, offset: int) -> Row:
    headers = tuple((name, _as_bytes(value)) for name, value in message.headers() or ())
    return Row(message.key(), message.value(), partition, message.timestamp()[1], headers, offset)


def _as_bytes(value: str | bytes | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value


def changelog(bootstrap: str, topic: str) -> dict[int, dict[bytes, bytes]]:
    """Return the last committed value per key of a compacted topic, by partition."""
    state: dict[int, dict[bytes, bytes]] = {partition: {} for partition in range(topics(bootstrap)[topic])}
    for row in read(bootstrap, topic):
        assert row.key is not None, "a record of a compacted topic has no key"
        if row.value is None:
            state[row.partition].pop(row.key, None)
        else:
            state[row.partition][row.key] = row.value
    return state


def end_offsets(bootstrap: str, topic: str, *, committed: bool = False) -> dict[int, int]:
    """Return the offset after the last record of each partition.

    With `committed`, after the last record that a read_committed consumer may read.
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
    """Return the partitions with an open transaction.

    The values are (last stable offset, end offset). Empty if every transaction was committed or aborted.
    """
    stable, end = end_offsets(bootstrap, topic, committed=True), end_offsets(bootstrap, topic)
    return {partition: (stable[partition], end[partition]) for partition in end if stable[partition] < end[partition]}


def committed(bootstrap: str, group: str) -> dict[tuple[str, int], Offset]:
    """Return what a group committed, by (topic, partition), once no transaction that commits offsets is ending.

    The request is sent by a consumer that joins no group: the admin client of librdkafka 2.16 crashes while the group's
    coordinator is still loading.
    """
    options = {"group.id": group, "isolation.level": "read_committed", "enable.auto.commit": False}
    consumer = Consumer({"bootstrap.servers": bootstrap, "log_level": 0, **options})
    places = [
        TopicPartition(topic, partition)
        for topic, count in topics(bootstrap).items()
        if not topic.startswith("__")
        for partition in range(count)
    ]
    deadline = time.monotonic() + _TIMEOUT
    try:
        while True:
            answer = consumer.committed(places, _TIMEOUT) if places else []
            errors = [place.error for place in answer if place.error is not None]
            if not errors:
                break
            if time.monotonic() > deadline or any(not error.retriable() for error in errors):
                raise KafkaException(errors[0])
            time.sleep(0.02)
    finally:
        consumer.close()
    return {(p.topic, p.partition): Offset(p.offset, _metadata(p)) for p in answer if p.offset >= 0}


def _metadata(place: TopicPartition) -> str:
    """Return the metadata of an offset. The client library sometimes reads past its end, into random memory."""
    try:
        return place.metadata or ""
    except UnicodeDecodeError as error:
        return error.object[: error.start].decode()


def committed_offsets(bootstrap: str, group: str, topic: str) -> dict[int, int]:
    """Return the offset that a group committed for each partition of a topic, or 0 if none."""
    found = {
        partition: place.offset for (name, partition), place in committed(bootstrap, group).items() if name == topic
    }
    return {partition: found.get(partition, 0) for partition in range(topics(bootstrap)[topic])}


def lag(bootstrap: str, group: str, topic: str) -> int:
    """Return the number of offsets of a topic that a group has not committed yet."""
    done = committed_offsets(bootstrap, group, topic)
    return sum(
        max(0, end - done[partition]) for partition, end in end_offsets(bootstrap, topic, committed=True).items()
    )


def members(bootstrap: str, group: str) -> list[Any]:
    """Return the members of a group, as confluent_kafka describes them."""
    return list(_ask(bootstrap, lambda c: c.describe_consumer_groups([group])).members)


def coordinator(bootstrap: str, group: str) -> int:
    """Return the number of the broker that coordinates a group."""
    return _ask(bootstrap, lambda c: c.describe_consumer_groups([group])).coordinator.id


def whole(bootstrap: str, brokers: int, timeout: float = 5.0) -> bool:
    """Return whether this number of brokers are in the cluster and all replicas are in sync."""
    try:
        found = admin(bootstrap).list_topics(timeout=timeout)
    except KafkaException:
        return False
    partitions = [one for topic in found.topics.values() for one in topic.partitions.values()]
    return len(found.brokers) == brokers and all(len(one.isrs) == len(one.replicas) for one in partitions)


def _reader(bootstrap: str, committed: bool) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "tests-reader",  # never joined: partitions are assigned manually, nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": _COMMITTED[committed],
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
            "log_level": 0,
        }
    )


def _ask(bootstrap: str, request: Callable[[AdminClient], Mapping[Any, Future[Any]]]) -> Any:
    """Return the result of an admin request about one resource. The client must live until the response arrives.

    Without a response, raises what other requests raise, so that `wait_for` asks again.
    """
    client = admin(bootstrap)
    (future,) = request(client).values()
    try:
        return future.result(_TIMEOUT)
    except FutureTimeout as error:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
