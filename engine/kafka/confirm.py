"""Asks Kafka whether this process is still a member, when what it believes may be old.

A process that stood still for long wakes up in the middle of what it was doing, and the first it hears of having been
replaced may come too late: see where this is called. Says nothing about the next moment, only about one after the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import Fatal, Fenced, Retryable
from .offsets import MOVED, PAUSE_SECONDS, Identity
from .protocol import Code, heartbeat, name_of
from .wire import Wire

__all__ = ["confirm"]

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
