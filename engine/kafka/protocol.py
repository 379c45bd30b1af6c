"""The requests of Kafka's protocol that the control plane uses.

Values in, values out: a `Request` is an encoded body and the function that decodes its response; `connections.py` sends
it. Each request is written in one fixed version, new enough for static members and stable offsets, old enough for every
broker from 2.5 on (ListTransactions and DescribeTransactions: 3.0). `error_name` names Kafka's error codes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .encoding import Request, RequestWriter, ResponseReader

__all__ = [
    "Broker",
    "ErrorCode",
    "FindCoordinatorResponse",
    "InitProducerIdResponse",
    "JoinGroupResponse",
    "ListTransactionsResponse",
    "SyncGroupResponse",
    "TransactionDescription",
    "describe_transactions",
    "error_name",
    "find_coordinator",
    "heartbeat",
    "init_producer_id",
    "join_group",
    "leave_group",
    "list_transactions",
    "metadata",
    "sync_group",
]


class ErrorCode:
    """The error codes that the engine reacts to."""

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


def error_name(code: int) -> str:
    """Return Kafka's name for an error code."""
    return NAMES.get(code, f"error {code}")


class Broker(NamedTuple):
    """The address of a broker."""

    host: str
    port: int


class FindCoordinatorResponse(NamedTuple):
    """The response to FindCoordinator."""

    error: int
    message: str
    broker: Broker


def find_coordinator(key: str, *, transaction: bool) -> Request[FindCoordinatorResponse]:
    """Make a request for the coordinator of a group or a transactional id."""

    def read(r: ResponseReader) -> FindCoordinatorResponse:
        r.int32()
        error, message, _node = r.int16(), r.string(), r.int32()
        return FindCoordinatorResponse(error, message or "", Broker(r.string() or "", r.int32()))

    return Request(10, 1, RequestWriter().string(key).int8(1 if transaction else 0).done(), read)


def metadata() -> Request[list[Broker]]:
    """Make a request for all brokers of the cluster."""

    def read(r: ResponseReader) -> list[Broker]:
        brokers: list[Broker] = []
        for _ in r.count():
            r.int32()
            brokers.append(Broker(r.string() or "", r.int32()))
            r.string()
        return brokers

    return Request(3, 1, RequestWriter().int32(0).done(), read)


class JoinGroupResponse(NamedTuple):
    """The response to JoinGroup; `members` has id and metadata, for the leader only."""

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
) -> Request[JoinGroupResponse]:
    """Make a request to join a group or its next generation, answered when all have joined."""
    w = RequestWriter().string(group).int32(session_ms).int32(rebalance_ms).string(member).string(instance)
    w.string("consumer").int32(1).string(protocol).bytes(described)

    def read(r: ResponseReader) -> JoinGroupResponse:
        r.int32()
        error, generation = r.int16(), r.int32()
        r.string()
        leader, me = r.string() or "", r.string() or ""
        members: list[tuple[str, bytes]] = []
        for _ in r.count():
            name = r.string() or ""
            r.string()
            members.append((name, r.bytes()))
        return JoinGroupResponse(error, generation, leader, me, members)

    return Request(11, 5, w.done(), read)


class SyncGroupResponse(NamedTuple):
    """The response to SyncGroup."""

    error: int
    assignment: bytes


def sync_group(
    group: str, generation: int, member: str, instance: str | None, assignments: Mapping[str, bytes]
) -> Request[SyncGroupResponse]:
    """Make a request for a member's assignment; the leader's request has all assignments."""
    w = RequestWriter().string(group).int32(generation).string(member).string(instance).int32(len(assignments))
    for name, data in assignments.items():
        w.string(name).bytes(data)

    def read(r: ResponseReader) -> SyncGroupResponse:
        r.int32()
        return SyncGroupResponse(r.int16(), r.bytes())

    return Request(14, 3, w.done(), read)


def heartbeat(group: str, generation: int, member: str, instance: str | None) -> Request[int]:
    """Make a heartbeat of a member; the response is an error code."""

    def read(r: ResponseReader) -> int:
        r.int32()
        return r.int16()

    return Request(12, 3, RequestWriter().string(group).int32(generation).string(member).string(instance).done(), read)


def leave_group(group: str, members: Iterable[tuple[str, str | None]]) -> Request[int]:
    """Make a request to remove members (id, instance id or None), answered by the first error."""
    listed = list(members)
    w = RequestWriter().string(group).int32(len(listed))
    for member, instance in listed:
        w.string(member).string(instance)

    def read(r: ResponseReader) -> int:
        r.int32()
        error = r.int16()
        for _ in r.count():
            r.string()
            r.string()
            error = error or r.int16()
        return error

    return Request(13, 3, w.done(), read)


class InitProducerIdResponse(NamedTuple):
    """The response to InitProducerId."""

    error: int
    producer: int
    epoch: int


def init_producer_id(
    transactional: str, timeout_ms: int, producer: int = -1, epoch: int = -1
) -> Request[InitProducerIdResponse]:
    """Make a request to abort the transaction and fence the producer of a transactional id.

    With a producer id and epoch, it succeeds only if that incarnation of the producer is the current one.
    """
    w = RequestWriter().compact_string(transactional).int32(timeout_ms).int64(producer).int16(epoch).tags()

    def read(r: ResponseReader) -> InitProducerIdResponse:
        r.int32()
        return InitProducerIdResponse(r.int16(), r.int64(), r.int16())

    return Request(22, 3, w.done(), read, flexible=True)


class ListTransactionsResponse(NamedTuple):
    """The response to ListTransactions: transactional ids in the requested states."""

    error: int
    ids: list[str]


def list_transactions(states: Iterable[str]) -> Request[ListTransactionsResponse]:
    """Make a request for the transactions that one broker coordinates."""
    wanted = list(states)
    w = RequestWriter().varint(len(wanted) + 1)
    for state in wanted:
        w.compact_string(state)
    w.varint(1).tags()

    def read(r: ResponseReader) -> ListTransactionsResponse:
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
        return ListTransactionsResponse(error, ids)

    return Request(66, 0, w.done(), read, flexible=True)


class TransactionDescription(NamedTuple):
    """One transaction as described by its coordinator."""

    error: int
    transactional: str
    state: str
    producer: int
    epoch: int


def describe_transactions(transactionals: Iterable[str]) -> Request[list[TransactionDescription]]:
    """Make a request for state and producer of transactions, sent to their coordinator."""
    wanted = list(transactionals)
    w = RequestWriter().varint(len(wanted) + 1)
    for name in wanted:
        w.compact_string(name)
    w.tags()

    def read(r: ResponseReader) -> list[TransactionDescription]:
        r.int32()
        found: list[TransactionDescription] = []
        for _ in r.compact_count():
            error, name, state = r.int16(), r.compact_string() or "", r.compact_string() or ""
            r.int32()
            r.int64()
            found.append(TransactionDescription(error, name, state, r.int64(), r.int16()))
            for _ in r.compact_count():
                r.compact_string()
                for _ in r.compact_count():
                    r.int32()
                r.tags()
            r.tags()
        return found

    return Request(65, 0, w.done(), read, flexible=True)
