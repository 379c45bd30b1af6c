"""Requests to a group's coordinator, which may move, load the group, or be created only now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar

from ..errors import Retryable
from ..kafka.connections import BrokerConnections
from ..kafka.encoding import Request
from ..kafka.protocol import ErrorCode, error_name

__all__ = ["MOVED", "ask_coordinator"]

R = TypeVar("R")

MOVED: Final = (ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_UNAVAILABLE, ErrorCode.COORDINATOR_LOADING)
"""Error codes of a broker that does not coordinate the group, or not yet."""
PAUSE_SECONDS = 0.1


async def ask_coordinator(
    wire: BrokerConnections, group: str, request: Request[R], code_of: Callable[[R], int], deadline: float, what: str
) -> R:
    """Send a request until the coordinator has loaded the group, and return the response.

    `code_of` returns the error code of a response. `deadline` is a time of the event loop, and `what` says in the error
    what could not be done. Raises Retryable when it has passed.
    """
    now = asyncio.get_running_loop().time
    while True:
        try:
            broker = await wire.coordinator(group)
            answer = await wire.send(broker, request, max(0.1, deadline - now()))
            if (code := code_of(answer)) not in MOVED:
                return answer
            why = error_name(code)
        except Retryable as failure:
            why = str(failure)
        wire.forget(group)
        if now() > deadline:
            raise Retryable(f"{what} in time: {why}")
        await asyncio.sleep(PAUSE_SECONDS)
