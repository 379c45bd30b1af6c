"""Takes members out of a group from outside of it, as a supervisor does when it sees a worker die."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from ..errors import Retryable
from ..kafka.connections import Wire
from ..kafka.protocol import Code, leave_group, name_of
from ..kafka.security import connection

__all__ = ["Leaver", "remove_members"]

MOVED = (Code.NOT_COORDINATOR, Code.COORDINATOR_UNAVAILABLE, Code.COORDINATOR_LOADING)
PAUSE_SECONDS = 0.1


Leaver: TypeAlias = tuple[str, str | None]
"""Member id, and the group.instance.id of a static member."""


def remove_members(
    options: Mapping[str, str], group: str, members: Iterable[Leaver], timeout: float = 10.0
) -> list[Leaver]:
    """Removes these members and returns those that were in the group.

    `options` are the Kafka client's, by librdkafka's names, with `bootstrap.servers`. Only for processes known to be
    dead: a living one would lose its tasks, and come back as another. Raises Retryable when Kafka does not answer.
    """
    return asyncio.run(_remove(options, group, list(members), time.monotonic() + timeout))


async def _remove(options: Mapping[str, str], group: str, members: list[Leaver], deadline: float) -> list[Leaver]:
    wire = Wire(connection(options))
    try:
        return [member for member in members if await _remove_one(wire, group, member, deadline)]
    finally:
        await wire.close()


async def _remove_one(wire: Wire, group: str, member: Leaver, deadline: float) -> bool:
    trouble = ""
    while time.monotonic() < deadline:
        with contextlib.suppress(Retryable):
            broker = await wire.coordinator(group)
            left = max(0.1, deadline - time.monotonic())
            code = await wire.send(broker, leave_group(group, [member]), left)
            if code not in MOVED:
                return code == Code.NONE
            trouble = name_of(code)
        wire.forget(group)
        await asyncio.sleep(PAUSE_SECONDS)
    raise Retryable(f"member {member[0]} could not be removed from group {group!r} in time {trouble}".rstrip())
