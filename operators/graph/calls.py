"""Calls of coroutine functions: the interface between a step and the executor of its calls.

Calls and results are values. The engine decides where and on which thread the functions run
(`engine/calls/async_calls.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .circuit_breaker import CircuitBreaker

__all__ = ["AsyncCall", "AsyncCallOptions", "CallContext", "CallExecutor", "CallResult", "StepCalls"]


@dataclass(frozen=True)
class CallContext:
    """What a function of `.map_async(journal=True)` gets beside the value.

    Args:
        key: The idempotency key: the same each time the call is made for this record, and that of no other call.

    Example:
        >>> async def charged(order, call):
        ...     return {"order": order, "receipt": call.key}  # here: post it with the header Idempotency-Key
        >>> receipts = orders.map_async(charged, journal=True, value=tm.json)
    """

    key: str


class AsyncCall(NamedTuple):
    """A call to make, with the number of its result.

    `key` is empty for a function that gets the value alone.
    """

    number: int
    value: Any
    key: str = ""


class CallResult(NamedTuple):
    """The result of a call: a value or an error."""

    number: int
    value: Any
    error: BaseException | None


@dataclass(frozen=True)
class AsyncCallOptions:
    """The options of a call. Times are in ms."""

    timeout: int
    """The time limit of one attempt."""
    retries: int
    """The number of attempts after the first one."""
    backoff: int
    """The wait before the second attempt, doubled for each further one."""
    rate: float | None = None
    """The most attempts per second of a step in one process."""
    circuit_breaker: CircuitBreaker | None = None
    """When attempts of a step in one process stop for a while."""


class StepCalls(Protocol):
    """The calls of one running step."""

    @property
    def prefix(self) -> str:
        """A text that no other step, task or process has, and this step not after it is rebuilt."""
        ...

    def start(self, calls: Iterable[AsyncCall]) -> None:
        """Start calls."""
        ...

    def answers(self) -> list[CallResult]:
        """Return the calls that have ended since the last time, in the order in which they ended."""
        ...

    def close(self) -> None:
        """Cancel the calls under way; no result is returned any more."""
        ...


class CallExecutor(Protocol):
    """The executor of calls."""

    def line(self, step: str, function: Callable[..., Any], options: AsyncCallOptions) -> StepCalls:
        """Return an executor for the calls of one step in one task."""
        ...
