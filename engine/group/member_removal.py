"""Removal of members by another member: dead ones, and this process's own former membership."""

from __future__ import annotations

import asyncio
import contextlib

from ..errors import Retryable, TidemillError
from ..kafka.connections import BrokerConnections
from ..kafka.protocol import ErrorCode, error_name, leave_group
from .background import Background
from .coordinator import MOVED
from .liveness import LivenessMonitor

__all__ = ["MemberRemover"]


class MemberRemover:
    """Removes members from the group. For use on the membership's event loop."""

    def __init__(
        self, group: str, wire: BrokerConnections, monitor: LivenessMonitor, wake: asyncio.Event, background: Background
    ) -> None:
        """Set `wake` when a heartbeat should be sent at once."""
        self._group = group
        self._wire = wire
        self._monitor = monitor
        self._wake = wake
        self._background = background
        self._under_way: set[asyncio.Task[object]] = set()

    async def remove(self, member: str) -> bool:
        """Remove a member from the group. Return False if it was not a member."""
        broker = await self._wire.coordinator(self._group)
        code = await self._wire.send(broker, leave_group(self._group, [(member, None)]), 5.0, "aside")
        self._wake.set()  # the next heartbeat shows the rebalance
        if code in MOVED:
            self._wire.forget(self._group)
            raise Retryable(f"member {member} could not be removed: {error_name(code)}")
        return code == ErrorCode.NONE

    def soon(self, member: str) -> None:
        """Remove a member in the background; if that fails, its session times out later."""
        task = self._background.spawn(self._try(member))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _try(self, member: str) -> None:
        with contextlib.suppress(TidemillError):
            await self.remove(member)

    async def run(self) -> None:
        """Remove members that are found dead, until cancelled."""
        while True:
            await self._monitor.noticed.wait()
            for info in self._monitor.take():
                if not info.static:  # a static member keeps its place for its restart
                    self.soon(info.member)
            await asyncio.sleep(0)
