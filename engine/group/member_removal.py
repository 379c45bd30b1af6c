"""Takes members out of the group from inside of it: those whose process has died, and one's own former self."""

from __future__ import annotations

import asyncio
import contextlib

from ..errors import Retryable, TidemillError
from ..kafka.connections import Wire
from ..kafka.protocol import Code, leave_group, name_of
from .background import Background
from .liveness import Peers

__all__ = ["MOVED", "Burying"]

MOVED = (Code.NOT_COORDINATOR, Code.COORDINATOR_UNAVAILABLE, Code.COORDINATOR_LOADING)


class Burying:
    """For use on the membership's event loop."""

    def __init__(self, group: str, wire: Wire, peers: Peers, wake: asyncio.Event, background: Background) -> None:
        """`wake` is set when there is reason to ask the group for news."""
        self._group = group
        self._wire = wire
        self._peers = peers
        self._wake = wake
        self._background = background
        self._under_way: set[asyncio.Task[object]] = set()

    async def remove(self, member: str) -> bool:
        """Takes a member out of the group. False when it was not in it."""
        broker = await self._wire.coordinator(self._group)
        code = await self._wire.send(broker, leave_group(self._group, [(member, None)]), 5.0, "aside")
        self._wake.set()  # a heartbeat now tells us of the rebalance
        if code in MOVED:
            self._wire.forget(self._group)
            raise Retryable(f"member {member} could not be removed: {name_of(code)}")
        return code == Code.NONE

    def soon(self, member: str) -> None:
        """Takes a member out beside the protocol; if Kafka does not do it, its session ends later."""
        task = self._background.spawn(self._try(member))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _try(self, member: str) -> None:
        with contextlib.suppress(TidemillError):
            await self.remove(member)

    async def run(self) -> None:
        """Takes out members whose process has died, as long as it runs."""
        while True:
            await self._peers.noticed.wait()
            for seat in self._peers.take():
                if not seat.static:  # a static member's place is kept for its restart
                    self.soon(seat.member)
            await asyncio.sleep(0)
