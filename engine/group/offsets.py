"""Committed offsets of the group, read and written outside transactions.

A commit carries generation and member id, so that Kafka refuses one from a process that has lost its tasks. Reading
waits until no transaction with offsets of the partitions is open (`require_stable`): what it returns is settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ..errors import Fatal, Fenced, Retryable
from ..kafka.connections import Wire
from ..kafka.protocol import Code, Partition, commit_offsets, fetch_offsets, heartbeat, name_of

__all__ = ["Identity", "MOVED", "PAUSE_SECONDS", "commit", "confirm", "fetch"]

Identity = tuple[int, str, "str | None"]
"""Generation, member id, instance id."""

MOVED = (Code.NOT_COORDINATOR, Code.COORDINATOR_UNAVAILABLE, Code.COORDINATOR_LOADING)
PAUSE_SECONDS = 0.05


async def commit(
    wire: Wire,
    group: str,
    offsets: Mapping[Partition, tuple[int, str]],
    identity: Callable[[], Identity],
    deadline: float,
) -> None:
    """Commits (next offset, metadata) by partition.

    `identity` is asked before each attempt: during a rebalance the answer changes while ownership does not. Raises
    Fenced when the group no longer knows the member, Retryable when the deadline passes.
    """
    while True:
        who = identity()
        why = ""
        try:
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - asyncio.get_running_loop().time())
            answer = await wire.send(broker, commit_offsets(group, *who, offsets), left, "offsets")
            codes = {code for code in answer.values() if code != Code.NONE}
        except Retryable as failure:
            codes, why = {Code.NOT_COORDINATOR}, str(failure)
        if not codes:
            return
        code = min(codes)
        if code in (Code.UNKNOWN_MEMBER, Code.FENCED_INSTANCE):
            raise Fenced(f"offsets were refused: Kafka no longer counts this process a member ({name_of(code)})")
        if code in MOVED:
            wire.forget(group)
        elif code not in (Code.ILLEGAL_GENERATION, Code.REBALANCE_IN_PROGRESS):
            raise Fatal(f"offsets could not be committed: {name_of(code)}")
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"offsets could not be committed in time: {why or name_of(code)}")
        await asyncio.sleep(PAUSE_SECONDS)


async def fetch(
    wire: Wire, group: str, partitions: Iterable[Partition], deadline: float
) -> dict[Partition, tuple[int, str] | None]:
    """The settled offsets and their metadata; None for a partition that has none."""
    wanted: list[Partition] = list(partitions)
    found: dict[Partition, tuple[int, str] | None] = {}
    while wanted:
        why = ""
        try:
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - asyncio.get_running_loop().time())
            answer = await wire.send(broker, fetch_offsets(group, wanted, stable=True), left, "offsets")
            code = answer.error
        except Retryable as failure:
            answer, code, why = None, Code.NOT_COORDINATOR, str(failure)
        if code in MOVED:
            wire.forget(group)
        elif code != Code.NONE:
            raise Fatal(f"committed offsets of group {group!r} could not be read: {name_of(code)}")
        for partition, (offset, text, error) in (answer.offsets if answer else {}).items():
            if error == Code.NONE:
                # What librdkafka commits in a transaction ends in a zero byte.
                found[partition] = (offset, text.rstrip("\0")) if offset >= 0 else None
            elif error == Code.UNSTABLE_OFFSETS:
                why = f"a transaction that commits {partition[0]!r} partition {partition[1]} is still open"
            else:
                raise Fatal(f"the committed offset of {partition} could not be read: {name_of(error)}")
        wanted = [partition for partition in wanted if partition not in found]
        if wanted:
            if asyncio.get_running_loop().time() > deadline:
                raise Retryable(f"committed offsets could not be read in time: {why or name_of(code)}")
            await asyncio.sleep(PAUSE_SECONDS)
    return found


ALIVE = (Code.NONE, Code.REBALANCE_IN_PROGRESS)


async def confirm(wire: Wire, group: str, identity: Callable[[], Identity], deadline: float) -> None:
    """Returns when the group knows the member. Raises Fenced when it does not, Retryable when the deadline passes.

    `identity` is asked before each attempt: the answer to a join of ours may be on its way.
    """
    while True:
        why = ""
        try:
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - asyncio.get_running_loop().time())
            code = await wire.send(broker, heartbeat(group, *identity()), left, "offsets")
        except Retryable as failure:
            code, why = Code.NOT_COORDINATOR, str(failure)
        if code in ALIVE:
            return
        if code in (Code.UNKNOWN_MEMBER, Code.FENCED_INSTANCE):
            raise Fenced(f"Kafka no longer counts this process a member ({name_of(code)})")
        if code in MOVED:
            wire.forget(group)
        elif code != Code.ILLEGAL_GENERATION:
            raise Fatal(f"the group {group!r} does not say whether this process is a member: {name_of(code)}")
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"the group did not say in time whether this is a member: {why or name_of(code)}")
        await asyncio.sleep(PAUSE_SECONDS)
