"""The circuit of one step in one process: closed, open, or tried by one attempt.

    closed --failures in a row--> open --wait--> one attempt --success--> closed
                                   ^                  '--failure--.
                                   '------------------------------'

Attempts wait while it is open, the first one for the time, the others for the first one. An attempt that was begun
before it opened says nothing about the service any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import circuitbreaker  # pyright: ignore[reportMissingTypeStubs]

from ...operators.graph.circuit_breaker import CircuitBreaker
from ...operators.time.durations import format_duration, parse_duration, rough_duration
from ..clock import Clock

__all__ = ["Circuit"]

LOG = logging.getLogger("tidemill.calls")
LINE_MS = 30_000
"""How often it is said at most that a circuit is still open."""
T = TypeVar("T")


class Circuit:
    """A circuit breaker that lets attempts wait."""

    def __init__(self, step: str, options: CircuitBreaker, clock: Clock) -> None:
        self._step = step
        self._wait = parse_duration(options.wait)
        self._clock = clock
        self._breaker: Any = cast("Any", circuitbreaker).CircuitBreaker(
            options.failures, self._wait / 1000, self._is_failure, step
        )
        self._ignored = options.ignore
        self._said = 0
        self.trial = asyncio.Lock()
        """Held by the attempt that waits for the time and tries the service."""
        self.open_since: int | None = None
        """In ms by the wall clock; None while it is closed."""

    @property
    def closed(self) -> bool:
        """Whether attempts need not wait."""
        return self._breaker.closed

    async def rest(self) -> None:
        """Wait until an attempt may be made."""
        while self._breaker.opened:
            await asyncio.sleep(min(self._wait / 1000, self._breaker.open_remaining))  # that is in whole seconds

    async def watch(self, attempt: Callable[[], Awaitable[T]], *, trial: bool = False) -> T:
        """Make an attempt, and count its outcome; a cancelled one has none."""
        try:
            result = await attempt()
        except Exception as error:
            if trial or self.closed:
                self._count(error)
            raise
        if trial or self.closed:
            self._count(None)
        return result

    def _is_failure(self, kind: type[BaseException], _error: BaseException) -> bool:
        return not issubclass(kind, self._ignored)

    def _count(self, error: Exception | None) -> None:
        self._breaker.__exit__(None if error is None else type(error), error, None)
        since, now = self.open_since, self._clock.now()
        if self.closed:
            self.open_since = None
            if since is not None:
                LOG.info("step %r: the circuit is closed again, after %s", self._step, rough_duration(now - since))
        elif since is None:
            self.open_since = self._said = now
            LOG.warning(
                "step %r: the circuit is open after %d failed calls in a row: %r. Records wait; one is tried every %s",
                *(self._step, self._breaker.failure_count, error, format_duration(self._wait)),
            )
        elif now - self._said >= LINE_MS:
            self._said = now
            LOG.warning("step %r: the circuit has been open for %s: %r", self._step, rough_duration(now - since), error)
