"""Fencing of orphaned transactions: those of processes that the group does not remember.

Needed after all members have died, and when a generation's plan may have reached only members that have died since. It
never fences a living process. Kafka is asked for the members *after* the transactions were listed: a process that
joined later had no task at that time, and therefore no transaction. A static member that was restarted without a
rebalance is identified by the metadata that it sent when it rejoined. And only the producers that were listed are
fenced.
"""

from __future__ import annotations

import asyncio
import logging

from ..errors import Retryable, TidemillError
from ..ids import process_of
from ..kafka.connections import BrokerConnections, UnsupportedVersion
from ..kafka.describe_groups import describe_group
from ..kafka.encoding import ProtocolError
from ..kafka.protocol import ErrorCode
from .coordinator import MOVED
from .events import MembershipSettings
from .fencing import fence_exactly, open_transactions
from .membership_state import MembershipState
from .metadata.member_metadata import decode_subscription

__all__ = ["fence_orphans", "fence_orphans_periodically"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
"""Attempts while the group keeps changing."""
PAUSE_SECONDS = 0.1
SECONDS = 5.0
FENCE_INTERVAL_SECONDS = 10.0
"""The time between two searches for open transactions."""


async def fence_orphans(wire: BrokerConnections, settings: MembershipSettings, state: MembershipState) -> list[str]:
    """Fence processes that have an open transaction but are not members, and return them."""
    try:
        return await fence_absent(wire, settings, state)
    except UnsupportedVersion as failure:
        log.warning("transactions of dead processes stay open until they time out: %s", failure)
        return []


async def fence_orphans_periodically(
    wire: BrokerConnections, settings: MembershipSettings, state: MembershipState
) -> None:
    """Fence orphaned transactions from time to time, while this member leads the group.

    A process that was replaced while it was suspended may resume, write a little and die before it learns of it. No
    task waits for what it left open in the task's own topics, but readers of its output topics do.
    """
    while settings.transactions:
        await asyncio.sleep(FENCE_INTERVAL_SECONDS)
        if state.leader:
            try:
                await fence_absent(wire, settings, state)
            except Retryable:
                continue
            except TidemillError as failure:
                log.debug("orphaned transactions are not searched for any more: %s", failure)
                return


async def fence_absent(wire: BrokerConnections, settings: MembershipSettings, state: MembershipState) -> list[str]:
    """Do the work of `fence_orphans`. Raises UnsupportedVersion if the brokers are too old."""
    for _ in range(ATTEMPTS):
        while state.phase != "stable":
            if state.phase == "closed":
                return []
            await asyncio.sleep(0.02)
        found = await open_transactions(wire, settings.group)
        if not found:
            return []
        living = await processes(wire, settings.group)
        if living is None:
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        living.add(state.ownership.process)
        dead = [t for t in found if process_of(settings.group, t.transactional) not in living]
        if not dead:
            return []
        await fence_exactly(wire, dead, settings.transaction_timeout)
        names = sorted(process_of(settings.group, t.transactional) or "" for t in dead)
        log.warning("fenced processes that had left a transaction open: %s", ", ".join(names))
        return names
    raise Retryable("the group changed during each search for open transactions")


async def processes(wire: BrokerConnections, group: str) -> set[str] | None:
    """Return the processes of all current members; None while Kafka does not know them."""
    described = await wire.send(await wire.coordinator(group), describe_group(group), SECONDS, "aside")
    if described.error in MOVED:
        wire.forget(group)
    if described.error != ErrorCode.NONE or described.state != "Stable":
        return None
    try:
        return {decode_subscription(member.metadata)[0].process for member in described.members}
    except ProtocolError:
        return None
