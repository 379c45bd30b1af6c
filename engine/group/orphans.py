"""Finds and fences what processes left open that the group does not remember.

Needed after the whole group has died, and when a generation's plan may have reached only members that are dead now.
Sure of who lives: Kafka is asked for the members after the transactions were listed. A process that joined later had no
task at that time, and so no transaction; a static member that was restarted without a rebalance is known by what it
said when it joined again; and only the very producers that were listed are fenced.
"""

from __future__ import annotations

import asyncio
import logging

from ..errors import Retryable, TidemillError
from ..ids import process_of
from ..kafka.connections import Unsupported, Wire
from ..kafka.describe_groups import describe_group
from ..kafka.encoding import Broken
from ..kafka.protocol import Code
from .events import MembershipSettings
from .fencing import fence_exactly, open_transactions
from .member_removal import MOVED
from .metadata.user_data import decode_subscription
from .shared import State

__all__ = ["sweep", "tidy"]

log = logging.getLogger(__name__)

ATTEMPTS = 20
"""While the group keeps changing."""
PAUSE_SECONDS = 0.1
SECONDS = 5.0
TIDY_SECONDS = 10.0
"""Between two looks at the open transactions."""


async def sweep(wire: Wire, settings: MembershipSettings, state: State) -> list[str]:
    """Fences processes of this application that have a transaction open and are not in the group. Returns them."""
    try:
        return await fence_the_gone(wire, settings, state)
    except Unsupported as failure:
        log.warning("what dead processes left open stays so until it times out: %s", failure)
        return []


async def tidy(wire: Wire, settings: MembershipSettings, state: State) -> None:
    """Sweeps now and then while this member leads the group.

    A process that was replaced while it stood still may wake up, write a little and die before it can be told: nobody
    waits for what it left in a task's own topics, but readers of its outputs do.
    """
    while settings.transactions:
        await asyncio.sleep(TIDY_SECONDS)
        if state.leader:
            try:
                await fence_the_gone(wire, settings, state)
            except Retryable:
                continue
            except TidemillError as failure:
                log.debug("the group's leader does not look for forgotten transactions: %s", failure)
                return


async def fence_the_gone(wire: Wire, settings: MembershipSettings, state: State) -> list[str]:
    """See `sweep`. Raises Unsupported when the brokers cannot tell."""
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
    raise Retryable("the group changed each time that open transactions were looked for")


async def processes(wire: Wire, group: str) -> set[str] | None:
    """The processes that are members now, as they last said of themselves; None while Kafka does not tell."""
    described = await wire.send(await wire.coordinator(group), describe_group(group), SECONDS, "aside")
    if described.error in MOVED:
        wire.forget(group)
    if described.error != Code.NONE or described.state != "Stable":
        return None
    try:
        return {decode_subscription(member.metadata)[0].process for member in described.members}
    except Broken:
        return None
