"""Removal of members from outside the group, as by a supervisor that sees a worker die."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..kafka.connections import BrokerConnections
from ..kafka.protocol import ErrorCode, leave_group
from ..kafka.security import connection
from .coordinator import ask_coordinator

__all__ = ["Leaver", "remove_members"]


Leaver: TypeAlias = tuple[str, str | None]
"""Member id, and the group.instance.id of a static member."""


def remove_members(
    options: Mapping[str, str], group: str, members: Iterable[Leaver], timeout: float = 10.0
) -> list[Leaver]:
    """Remove members from the group, and return those that were in it.

    `options` are for the Kafka client, by librdkafka's names, with `bootstrap.servers`. Only for processes known to be
    dead: a living one would lose its tasks, and rejoin as another member. Raises Retryable if Kafka does not respond.
    """
    return asyncio.run(_remove(options, group, list(members), timeout))


async def _remove(options: Mapping[str, str], group: str, members: list[Leaver], timeout: float) -> list[Leaver]:
    wire = BrokerConnections(connection(options))
    deadline = asyncio.get_running_loop().time() + timeout
    try:
        return [member for member in members if await _remove_one(wire, group, member, deadline)]
    finally:
        await wire.close()


async def _remove_one(wire: BrokerConnections, group: str, member: Leaver, deadline: float) -> bool:
    what = f"member {member[0]} could not be removed from group {group!r}"
    code = await ask_coordinator(wire, group, leave_group(group, [member]), int, deadline, what)
    return code == ErrorCode.NONE
