"""Ends what dead processes left open, so that nobody waits for their transaction time-out.

`fence` takes transactional ids over (InitProducerId), which aborts an open transaction and makes the old producer's
requests fail. `open_transactions` and `fence_exactly` are for when the group does not remember who ran a task: look at
what is open, then fence exactly the producers that were seen. Who may be fenced is for the caller to know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ..errors import Fatal, Retryable
from ..ids import process_of
from ..kafka.connections import Wire
from ..kafka.protocol import Code, Transaction, describe_transactions, init_producer_id, list_transactions, name_of

__all__ = ["fence", "fence_exactly", "open_transactions"]

SECONDS = 10.0
"""How long a transaction's coordinator may take for one answer."""
PAUSE_SECONDS = 0.02
GIVE_UP_SECONDS = 30.0

LATER = (
    Code.CONCURRENT_TRANSACTIONS,
    Code.NOT_COORDINATOR,
    Code.COORDINATOR_UNAVAILABLE,
    Code.COORDINATOR_LOADING,
)
GONE = (Code.PRODUCER_FENCED, Code.INVALID_PRODUCER_EPOCH, Code.TRANSACTIONAL_ID_NOT_FOUND)
"""Answers to a conditional take-over that mean: that producer is history already."""

OPEN = ("Ongoing", "PrepareCommit", "PrepareAbort", "PrepareEpochFence")


async def fence(wire: Wire, transactional_ids: Iterable[str], timeout_ms: int) -> None:
    """Takes these transactional ids over. When it returns, none of them has an open transaction."""
    await asyncio.gather(*(_take_over(wire, name, timeout_ms) for name in dict.fromkeys(transactional_ids)))


async def fence_exactly(wire: Wire, seen: Iterable[Transaction], timeout_ms: int) -> None:
    """Takes over the transactional ids of these transactions, each only from the producer that was seen with it."""
    await asyncio.gather(*(_take_over(wire, t.transactional, timeout_ms, t) for t in seen))


async def open_transactions(wire: Wire, app_id: str) -> list[Transaction]:
    """The open transactions of an application's processes, in the whole cluster.

    Each is described by the broker that has listed it, so that none is missed whose coordinator has moved since it was
    last asked. Raises Retryable when a coordinator does not answer, or moves or loads just now.
    """
    found: list[Transaction] = []
    for broker in await wire.brokers():
        listed = await wire.send(broker, list_transactions(OPEN), SECONDS, "fencing")
        _check(listed.error, "listed")
        names = sorted(name for name in listed.ids if process_of(app_id, name) is not None)
        if names:
            found += await wire.send(broker, describe_transactions(names), SECONDS, "fencing")
    for one in found:
        if one.error != Code.TRANSACTIONAL_ID_NOT_FOUND:
            _check(one.error, "described")
    return [one for one in found if one.error == Code.NONE and one.state in OPEN]


def _check(code: int, doing: str) -> None:
    if code in LATER:
        raise Retryable(f"open transactions cannot be {doing} yet: {name_of(code)}")
    if code != Code.NONE:
        raise Fatal(f"open transactions cannot be {doing}: {name_of(code)}")


async def _take_over(wire: Wire, name: str, timeout_ms: int, seen: Transaction | None = None) -> None:
    """Takes one transactional id over; with `seen`, only from that producer."""
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
        if code == Code.NONE or (seen is not None and code in GONE):
            return
        if code not in LATER:
            raise Fatal(f"the transactional id {name!r} of a dead process cannot be taken over: {name_of(code)}")
        if code != Code.CONCURRENT_TRANSACTIONS:
            wire.forget(name, transaction=True)
        if asyncio.get_running_loop().time() > deadline:
            raise Retryable(f"the transactional id {name!r} could not be taken over: {name_of(code)}")
        await asyncio.sleep(PAUSE_SECONDS)
