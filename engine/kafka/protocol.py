"""The few requests of Kafka's protocol that the control plane speaks.

Values in, values out: a `Request` is an encoded body and the function that reads its answer; `connections.py` sends it.
Each request is written in one fixed version, new enough for static members and stable offsets, old enough for every
broker from 2.5 on (ListTransactions and DescribeTransactions: 3.0). `name_of` names Kafka's error codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .encoding import Reader, Request, Writer

__all__ = [
    "Broker",
    "Code",
    "Fetched",
    "Found",
    "Initiated",
    "Joined",
    "Listed",
    "Partition",
    "Synced",
    "Transaction",
    "commit_offsets",
    "describe_transactions",
    "fetch_offsets",
    "find_coordinator",
    "heartbeat",
    "init_producer_id",
    "join_group",
    "leave_group",
    "list_transactions",
    "metadata",
    "name_of",
    "sync_group",
]


class Code:
    """Error codes that are acted upon."""

    SERVER_ERROR = -1
    NONE = 0
    MESSAGE_TOO_LARGE = 10
    COORDINATOR_LOADING = 14
    COORDINATOR_UNAVAILABLE = 15
    NOT_COORDINATOR = 16
    ILLEGAL_GENERATION = 22
    INCONSISTENT_PROTOCOL = 23
    UNKNOWN_MEMBER = 25
    INVALID_SESSION_TIMEOUT = 26
    REBALANCE_IN_PROGRESS = 27
    GROUP_AUTHORIZATION = 30
    INVALID_PRODUCER_EPOCH = 47
    CONCURRENT_TRANSACTIONS = 51
    TRANSACTIONAL_ID_AUTHORIZATION = 53
    MEMBER_ID_REQUIRED = 79
    GROUP_FULL = 81
    FENCED_INSTANCE = 82
    UNSTABLE_OFFSETS = 88
    PRODUCER_FENCED = 90
    TRANSACTIONAL_ID_NOT_FOUND = 105


NAMES: Mapping[int, str] = {
    -1: "UNKNOWN_SERVER_ERROR",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    7: "REQUEST_TIMED_OUT",
    10: "MESSAGE_TOO_LARGE",
    12: "OFFSET_METADATA_TOO_LARGE",
    13: "NETWORK_EXCEPTION",
    14: "COORDINATOR_LOAD_IN_PROGRESS",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    22: "ILLEGAL_GENERATION",
    23: "INCONSISTENT_GROUP_PROTOCOL",
    24: "INVALID_GROUP_ID",
    25: "UNKNOWN_MEMBER_ID",
    26: "INVALID_SESSION_TIMEOUT",
    27: "REBALANCE_IN_PROGRESS",
    28: "INVALID_COMMIT_OFFSET_SIZE",
    29: "TOPIC_AUTHORIZATION_FAILED",
    30: "GROUP_AUTHORIZATION_FAILED",
    31: "CLUSTER_AUTHORIZATION_FAILED",
    35: "UNSUPPORTED_VERSION",
    42: "INVALID_REQUEST",
    47: "INVALID_PRODUCER_EPOCH",
    48: "INVALID_TXN_STATE",
    49: "INVALID_PRODUCER_ID_MAPPING",
    50: "INVALID_TRANSACTION_TIMEOUT",
    51: "CONCURRENT_TRANSACTIONS",
    53: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    58: "SASL_AUTHENTICATION_FAILED",
    69: "GROUP_ID_NOT_FOUND",
    79: "MEMBER_ID_REQUIRED",
    81: "GROUP_MAX_SIZE_REACHED",
    82: "FENCED_INSTANCE_ID",
    88: "UNSTABLE_OFFSET_COMMIT",
    89: "THROTTLING_QUOTA_EXCEEDED",
    90: "PRODUCER_FENCED",
    105: "TRANSACTIONAL_ID_NOT_FOUND",
}


def name_of(code: int) -> str:
    """Kafka's name for an error code."""
    return NAMES.get(code, f"error {code}")


class Broker(NamedTuple):
    """Where a broker listens."""

    host: str
    port: int


class Found(NamedTuple):
    """The answer to FindCoordinator."""

    error: int
    message: str
    broker: Broker


def find_coordinator(key: str, *, transaction: bool) -> Request[Found]:
    """Which broker coordinates a group or a transactional id."""

    def read(r: Reader) -> Found:
        r.int32()
        error, message, _node = r.int16(), r.string(), r.int32()
        return Found(error, message or "", Broker(r.string() or "", r.int32()))

    return Request(10, 1, Writer().string(key).int8(1 if transaction else 0).done(), read)


def metadata() -> Request[list[Broker]]:
    """All brokers of the cluster."""

    def read(r: Reader) -> list[Broker]:
        brokers: list[Broker] = []
        for _ in r.count():
            r.int32()
            brokers.append(Broker(r.string() or "", r.int32()))
            r.string()
        return brokers

    return Request(3, 1, Writer().int32(0).done(), read)


class Joined(NamedTuple):
    """The answer to JoinGroup; `members` are id and metadata, for the leader alone."""

    error: int
    generation: int
    leader: str
    member: str
    members: list[tuple[str, bytes]]


def join_group(
    group: str,
    session_ms: int,
    rebalance_ms: int,
    member: str,
    instance: str | None,
    protocol: str,
    described: bytes,
) -> Request[Joined]:
    """Enters a group or, as a member, the next generation. Answered when all members have asked."""
    w = Writer().string(group).int32(session_ms).int32(rebalance_ms).string(member).string(instance)
    w.string("consumer").int32(1).string(protocol).bytes(described)

    def read(r: Reader) -> Joined:
        r.int32()
        error, generation = r.int16(), r.int32()
        r.string()
        leader, me = r.string() or "", r.string() or ""
        members: list[tuple[str, bytes]] = []
        for _ in r.count():
            name = r.string() or ""
            r.string()
            members.append((name, r.bytes()))
        return Joined(error, generation, leader, me, members)

    return Request(11, 5, w.done(), read)


class Synced(NamedTuple):
    """The answer to SyncGroup."""

    error: int
    assignment: bytes


def sync_group(
    group: str, generation: int, member: str, instance: str | None, assignments: Mapping[str, bytes]
) -> Request[Synced]:
    """Hands over (leader) and gets (everybody) what a generation is to do."""
    w = Writer().string(group).int32(generation).string(member).string(instance).int32(len(assignments))
    for name, data in assignments.items():
        w.string(name).bytes(data)

    def read(r: Reader) -> Synced:
        r.int32()
        return Synced(r.int16(), r.bytes())

    return Request(14, 3, w.done(), read)


def heartbeat(group: str, generation: int, member: str, instance: str | None) -> Request[int]:
    """Says that a member lives; the answer is an error code."""

    def read(r: Reader) -> int:
        r.int32()
        return r.int16()

    return Request(12, 3, Writer().string(group).int32(generation).string(member).string(instance).done(), read)


def leave_group(group: str, members: Iterable[tuple[str, str | None]]) -> Request[int]:
    """Removes members (id, instance id or None): oneself or anyone else. The answer is the first error code."""
    listed = list(members)
    w = Writer().string(group).int32(len(listed))
    for member, instance in listed:
        w.string(member).string(instance)

    def read(r: Reader) -> int:
        r.int32()
        error = r.int16()
        for _ in r.count():
            r.string()
            r.string()
            error = error or r.int16()
        return error

    return Request(13, 3, w.done(), read)


Partition = tuple[str, int]
"""Topic and partition number."""


def commit_offsets(
    group: str, generation: int, member: str, instance: str | None, offsets: Mapping[Partition, tuple[int, str]]
) -> Request[dict[Partition, int]]:
    """Commits offsets outside a transaction; the answer has an error code for each partition."""
    w = Writer().string(group).int32(generation).string(member).string(instance)
    topics = by_topic(offsets)
    w.int32(len(topics))
    for topic, partitions in topics.items():
        w.string(topic).int32(len(partitions))
        for partition in partitions:
            offset, text = offsets[topic, partition]
            w.int32(partition).int64(offset).int32(-1).string(text)

    def read(r: Reader) -> dict[Partition, int]:
        r.int32()
        errors: dict[Partition, int] = {}
        for _ in r.count():
            topic = r.string() or ""
            for _ in r.count():
                partition = r.int32()
                errors[topic, partition] = r.int16()
        return errors

    return Request(8, 7, w.done(), read)


class Fetched(NamedTuple):
    """The answer to OffsetFetch: (offset, metadata, error code) by partition; offset -1 where there is none."""

    error: int
    offsets: dict[Partition, tuple[int, str, int]]


def fetch_offsets(group: str, partitions: Iterable[Partition], *, stable: bool) -> Request[Fetched]:
    """The committed offsets of a group; `stable` answers with an error while a transaction with some is open."""
    topics = by_topic(partitions)
    w = Writer().compact_string(group).varint(len(topics) + 1)
    for topic, numbers in topics.items():
        w.compact_string(topic).varint(len(numbers) + 1)
        for number in numbers:
            w.int32(number)
        w.tags()
    w.int8(1 if stable else 0).tags()

    def read(r: Reader) -> Fetched:
        r.int32()
        offsets: dict[Partition, tuple[int, str, int]] = {}
        for _ in r.compact_count():
            topic = r.compact_string() or ""
            for _ in r.compact_count():
                partition, offset, _epoch = r.int32(), r.int64(), r.int32()
                text, error = r.compact_string() or "", r.int16()
                offsets[topic, partition] = (offset, text, error)
                r.tags()
            r.tags()
        return Fetched(r.int16(), offsets)

    return Request(9, 7, w.done(), read, flexible=True)


class Initiated(NamedTuple):
    """The answer to InitProducerId."""

    error: int
    producer: int
    epoch: int


def init_producer_id(transactional: str, timeout_ms: int, producer: int = -1, epoch: int = -1) -> Request[Initiated]:
    """Takes a transactional id over: aborts its open transaction and fences its producer.

    With a producer id and epoch, only when that incarnation of the producer is the current one.
    """
    w = Writer().compact_string(transactional).int32(timeout_ms).int64(producer).int16(epoch).tags()

    def read(r: Reader) -> Initiated:
        r.int32()
        return Initiated(r.int16(), r.int64(), r.int16())

    return Request(22, 3, w.done(), read, flexible=True)


class Listed(NamedTuple):
    """The answer to ListTransactions: transactional ids by this broker, in the states asked for."""

    error: int
    ids: list[str]


def list_transactions(states: Iterable[str]) -> Request[Listed]:
    """The transactions that one broker coordinates."""
    wanted = list(states)
    w = Writer().varint(len(wanted) + 1)
    for state in wanted:
        w.compact_string(state)
    w.varint(1).tags()

    def read(r: Reader) -> Listed:
        r.int32()
        error = r.int16()
        for _ in r.compact_count():
            r.compact_string()
        ids: list[str] = []
        for _ in r.compact_count():
            ids.append(r.compact_string() or "")
            r.int64()
            r.compact_string()
            r.tags()
        return Listed(error, ids)

    return Request(66, 0, w.done(), read, flexible=True)


class Transaction(NamedTuple):
    """One transaction as its coordinator describes it."""

    error: int
    transactional: str
    state: str
    producer: int
    epoch: int


def describe_transactions(transactionals: Iterable[str]) -> Request[list[Transaction]]:
    """State and producer of transactions, asked of their coordinator."""
    wanted = list(transactionals)
    w = Writer().varint(len(wanted) + 1)
    for name in wanted:
        w.compact_string(name)
    w.tags()

    def read(r: Reader) -> list[Transaction]:
        r.int32()
        found: list[Transaction] = []
        for _ in r.compact_count():
            error, name, state = r.int16(), r.compact_string() or "", r.compact_string() or ""
            r.int32()
            r.int64()
            found.append(Transaction(error, name, state, r.int64(), r.int16()))
            for _ in r.compact_count():
                r.compact_string()
                for _ in r.compact_count():
                    r.int32()
                r.tags()
            r.tags()
        return found

    return Request(65, 0, w.done(), read, flexible=True)


def by_topic(partitions: Iterable[Partition]) -> dict[str, list[int]]:
    """Partition numbers by topic, sorted."""
    topics: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        topics.setdefault(topic, []).append(number)
    return topics
