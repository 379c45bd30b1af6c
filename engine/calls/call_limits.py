"""What each attempt of a call waits for: its circuit, then its turn by the rate limit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiolimiter import AsyncLimiter

from ...operators.graph.calls import AsyncCallOptions
from ..clock import Clock
from .circuit import Circuit

__all__ = ["CallLimits"]

BURST_SECONDS: Final = 0.05
"""The attempts of this time may be made at once, since the event loop does not wake up for each of thousands."""
T = TypeVar("T")


class CallLimits:
    """The limits of one step in one process, used on the event loop."""

    def __init__(self, step: str, options: AsyncCallOptions, clock: Clock) -> None:
        breaker = options.circuit_breaker
        self._circuit = None if breaker is None else Circuit(step, breaker, clock)
        self._limiter = None if options.rate is None else limiter(options.rate)
        self.failures = 0
        """Attempts that failed."""
        self.users = 0
        """Tasks whose calls go through it now."""

    @property
    def circuit(self) -> Circuit | None:
        """The circuit of the step, if it has one."""
        return self._circuit

    async def attempt(self, make: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt as soon as that is allowed."""
        try:
            return await self._allowed(make)
        except Exception:
            self.failures += 1
            raise

    async def _allowed(self, make: Callable[[], Awaitable[T]]) -> T:
        circuit = self._circuit
        if circuit is None:
            await self._turn()
            return await make()
        while True:
            if circuit.closed:
                await self._turn()
                if circuit.closed:
                    return await circuit.watch(make)
            async with circuit.trial:
                if not circuit.closed:
                    await circuit.rest()
                    await self._turn()
                    return await circuit.watch(make, trial=True)

    async def _turn(self) -> None:
        if self._limiter is not None:
            await self._limiter.acquire()


def limiter(rate: float) -> AsyncLimiter:
    """Return a limiter of so many per second, few of which are made at once."""
    burst = max(1.0, rate * BURST_SECONDS)
    return AsyncLimiter(burst, burst / rate)
