"""Fencing: abort the open transactions of dead processes before they time out.

`fence` sends InitProducerId for transactional ids, which aborts an open transaction and makes the broker reject the old
producer's requests. `open_transactions` and `fence_exactly` are for tasks with owners that the group does not remember:
list the open transactions, then fence exactly the producers that were listed. The caller has to know which producers
may be fenced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ..errors import Fatal, Retryable
from ..ids import process_of
from ..kafka.connections import BrokerConnections
from ..kafka.protocol import (
    ErrorCode,
    TransactionDescription,
    describe_transactions,
    error_name,
    init_producer_id,
    list_transactions,
)

__all__ = ["fence", "fence_exactly", "open_transactions"]

SECONDS = 10.0
"""How long the transaction coordinator may take for one response."""
PAUSE_SECONDS = 0.02
GIVE_UP_SECONDS = 30.0

LATER = (
    ErrorCode.CONCURRENT_TRANSACTIONS,
    ErrorCode.NOT_COORDINATOR,
    ErrorCode.COORDINATOR_UNAVAILABLE,
    ErrorCode.COORDINATOR_LOADING,
)
GONE = (ErrorCode.PRODUCER_FENCED, ErrorCode.INVALID_PRODUCER_EPOCH, ErrorCode.TRANSACTIONAL_ID_NOT_FOUND)
"""Error codes of a conditional InitProducerId that mean: this producer is fenced or gone already."""

OPEN = ("Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence")


async def fence(wire: BrokerConnections, transactional_ids: Iterable[str], timeout_ms: int) -> None:
    """Fence the producers of these transactional ids; none has an open transaction afterwards."""
    await asyncio.gather(*(_take_over(wire, name, timeout_ms) for name in dict.fromkeys(transactional_ids)))


async def fence_exactly(wire: BrokerConnections, seen: Iterable[TransactionDescription], timeout_ms: int) -> None:
    """Fence the producers of these transactions, unless another has replaced them since."""
    await asyncio.gather(*(_take_over(wire, t.transactional, timeout_ms, t) for t in seen))


async def open_transactions(wire: BrokerConnections, app_id: str) -> list[TransactionDescription]:
    """Return the open transactions of an application's processes in the whole cluster.

    Each is described by the broker that has listed it, so that none is missed if its coordinator has moved since it was
    looked up. Raises Retryable if a coordinator does not respond, or is moving or loading.
    """
    found: list[TransactionDescription] = []
    for broker in await wire.brokers():
        listed = await wire.send(broker, list_transactions(OPEN), SECONDS, "fencing")
        _check(listed.error, "listed")
        names = sorted(name for name in listed.ids if process_of(app_id, name) is not None)
        if names:
            found += await wire.send(broker, describe_transactions(names), SECONDS, "fencing")
    for one in found:
        if one.error != ErrorCode.TRANSACTIONAL_ID_NOT_FOUND:
            _check(one.error, "described")
    return [one for one in found if one.error == ErrorCode.NONE and one.state in OPEN]


def _check(code: int, doing: str) -> None:
    if code in LATER:
        raise Retryable(f"open transactions cannot be {doing} yet: {error_name(code)}")
    if code != ErrorCode.NONE:
        raise Fatal(f"open transactions cannot be {doing}: {error_name(code)}")


async def _take_over(
    wire: BrokerConnections, name: str, timeout_ms: int, seen: TransactionDescription | None = None
) -> None:
    """Fence one transactional id; if `seen` is given, only if it still belongs to that producer."""
    producer, epoch = (seen.producer, seen.epoch) if seen else (-1, -1)
    request = init_producer_id(name, timeout_ms, producer, epoch)
    deadline = asyncio.get_running_loop().time() + GIVE_UP_SECONDS
    while True:
        try:
            broker = await wire.coordinator(name, transaction=True)
            code = (await wire.send(broker, request, SECONDS, "fencing")).error
        except Retryable:
            if asyncio.get_running_loop().time() > deadline:
                raise
            wire.forget(name, transaction=True)
            await asyncio.sleep(PAUSE_SECONDS * 5)
            continue
        if code == ErrorCode.NONE or (seen is not None and code in GONE):
            return
        if code not in LATER:
            raise Fatal(f"the transactional id {name!r} of a dead process could not be fenced: {error_name(code)}")
        if code != ErrorCode.CONCURRENT_TRANSACTIONS:
            wire.forget(name, transaction=True)
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"the transactional id {name!r} could not be fenced in time: {error_name(code)}")
        await asyncio.sleep(PAUSE_SECONDS)
