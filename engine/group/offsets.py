"""Committed offsets of the group, read and written outside transactions.

A commit carries generation and member id, so that Kafka rejects one from a process that has lost its tasks. Reading
waits until no transaction with offsets of the partitions is open (`require_stable`), so that the result is final.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ...state.topic_partition import TopicPartition
from ..errors import Fatal, Fenced, Retryable
from ..kafka.connections import BrokerConnections
from ..kafka.offset_requests import commit_offsets, fetch_offsets
from ..kafka.protocol import ErrorCode, error_name, heartbeat
from ..kafka.security import connection
from .coordinator import MOVED, ask_coordinator

__all__ = [
    "PAUSE_SECONDS",
    "MemberIdentity",
    "commit_directly",
    "committed_metadata",
    "committed_offsets",
    "confirm",
    "fetch_all_committed",
    "fetch_committed",
]

MemberIdentity = tuple[int, str, "str | None"]
"""Generation, member id, instance id."""

PAUSE_SECONDS = 0.05


async def commit_directly(
    wire: BrokerConnections,
    group: str,
    offsets: Mapping[TopicPartition, tuple[int, str]],
    identity: Callable[[], MemberIdentity],
    deadline: float,
) -> None:
    """Commit (next offset, metadata) by partition.

    Calls `identity` before each attempt: during a rebalance the generation changes while ownership does not. Raises
    Fenced if the group no longer knows the member, Retryable if the deadline passes.
    """
    while True:
        member = identity()
        why = ""
        try:
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - asyncio.get_running_loop().time())
            answer = await wire.send(broker, commit_offsets(group, *member, offsets), left, "offsets")
            codes = {code for code in answer.values() if code != ErrorCode.NONE}
        except Retryable as failure:
            codes, why = {ErrorCode.NOT_COORDINATOR}, str(failure)
        if not codes:
            return
        code = min(codes)
        if code in (ErrorCode.UNKNOWN_MEMBER, ErrorCode.FENCED_INSTANCE):
            raise Fenced(f"offsets were rejected: this process is no longer a member of the group ({error_name(code)})")
        if code in MOVED:
            wire.forget(group)
        elif code not in (ErrorCode.ILLEGAL_GENERATION, ErrorCode.REBALANCE_IN_PROGRESS):
            raise Fatal(f"offsets could not be committed: {error_name(code)}")
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"offsets could not be committed in time: {why or error_name(code)}")
        await asyncio.sleep(PAUSE_SECONDS)


async def fetch_committed(
    wire: BrokerConnections, group: str, partitions: Iterable[TopicPartition], deadline: float, *, stable: bool = True
) -> dict[TopicPartition, tuple[int, str] | None]:
    """Return the committed offsets and their metadata; None for a partition without any.

    Without `stable`, open transactions are not waited for.
    """
    wanted: list[TopicPartition] = list(partitions)
    found: dict[TopicPartition, tuple[int, str] | None] = {}
    while wanted:
        why = ""
        try:
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - asyncio.get_running_loop().time())
            answer = await wire.send(broker, fetch_offsets(group, wanted, stable=stable), left, "offsets")
            code = answer.error
        except Retryable as failure:
            answer, code, why = None, ErrorCode.NOT_COORDINATOR, str(failure)
        if code in MOVED:
            wire.forget(group)
        elif code != ErrorCode.NONE:
            raise Fatal(f"committed offsets of group {group!r} could not be read: {error_name(code)}")
        for partition, (offset, text, error) in (answer.offsets if answer else {}).items():
            if error == ErrorCode.NONE:
                # The metadata that librdkafka commits in a transaction ends in a zero byte.
                found[partition] = (offset, text.rstrip("\0")) if offset >= 0 else None
            elif error == ErrorCode.UNSTABLE_OFFSETS:
                why = f"a transaction that commits {partition[0]!r} partition {partition[1]} is still open"
            else:
                raise Fatal(f"the committed offset of {partition} could not be read: {error_name(error)}")
        wanted = [partition for partition in wanted if partition not in found]
        if wanted:
            if asyncio.get_running_loop().time() > deadline:
                raise Retryable(f"committed offsets could not be read in time: {why or error_name(code)}")
            await asyncio.sleep(PAUSE_SECONDS)
    return found


async def fetch_all_committed(
    wire: BrokerConnections, group: str, deadline: float, *, stable: bool
) -> dict[TopicPartition, tuple[int, str]]:
    """Return all committed offsets of a group, with their metadata.

    With `stable`, raises Retryable while a transaction that commits any of them is open.
    """
    unread = f"committed offsets of group {group!r} could not be read"
    request = fetch_offsets(group, None, stable=stable)
    answer = await ask_coordinator(wire, group, request, lambda answer: answer.error, deadline, unread)
    if answer.error != ErrorCode.NONE:
        raise Fatal(f"{unread}: {error_name(answer.error)}")
    for (topic, partition), (_, _, error) in answer.offsets.items():
        if error == ErrorCode.UNSTABLE_OFFSETS:
            raise Retryable(f"a transaction that commits {topic!r} partition {partition} is still open")
        if error != ErrorCode.NONE:
            raise Fatal(
                f"the committed offset of {topic!r} partition {partition} could not be read: {error_name(error)}"
            )
    return {key: (at, text.rstrip("\0")) for key, (at, text, _) in answer.offsets.items() if at >= 0}


def committed_metadata(
    options: Mapping[str, str], group: str, partitions: Iterable[TopicPartition] | None, seconds: float
) -> dict[TopicPartition, str]:
    """Return the metadata of the committed offsets of a group, as `committed_offsets` does."""
    return {key: metadata for key, (_, metadata) in committed_offsets(options, group, partitions, seconds).items()}


def committed_offsets(
    options: Mapping[str, str], group: str, partitions: Iterable[TopicPartition] | None, seconds: float
) -> dict[TopicPartition, tuple[int, str]]:
    """Return the committed offsets of a group, all of them with None, with their metadata.

    Open transactions are not waited for. `options` have the address of Kafka and its security. Raises Retryable if
    Kafka does not answer in time, or Fatal.
    """

    async def fetch() -> dict[TopicPartition, tuple[int, str] | None]:
        wire = BrokerConnections(connection(options))
        try:
            await wire.brokers()
            end = asyncio.get_running_loop().time() + seconds
            if partitions is None:
                return dict(await fetch_all_committed(wire, group, end, stable=False))
            return await fetch_committed(wire, group, partitions, end, stable=False)
        finally:
            await wire.close()

    return {key: found for key, found in asyncio.run(fetch()).items() if found is not None}


ALIVE = (ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS)


async def confirm(wire: BrokerConnections, group: str, identity: Callable[[], MemberIdentity], deadline: float) -> None:
    """Return once the coordinator has confirmed the member.

    Calls `identity` before each attempt: the response to this member's own join may be in flight. Raises Fenced if the
    group does not know the member, Retryable if the deadline passes.
    """
    while True:
        why = ""
        try:
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - asyncio.get_running_loop().time())
            code = await wire.send(broker, heartbeat(group, *identity()), left, "offsets")
        except Retryable as failure:
            code, why = ErrorCode.NOT_COORDINATOR, str(failure)
        if code in ALIVE:
            return
        if code in (ErrorCode.UNKNOWN_MEMBER, ErrorCode.FENCED_INSTANCE):
            raise Fenced(f"this process is no longer a member of the group ({error_name(code)})")
        if code in MOVED:
            wire.forget(group)
        elif code != ErrorCode.ILLEGAL_GENERATION:
            raise Fatal(f"the membership in group {group!r} could not be confirmed: {error_name(code)}")
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"the membership could not be confirmed in time: {why or error_name(code)}")
        await asyncio.sleep(PAUSE_SECONDS)
