"""When calls stop because their service fails, and when they are tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from ..errors import TopologyError
from ..time.durations import Duration, parse_duration

__all__ = ["CircuitBreaker"]


@dataclass(frozen=True)
class CircuitBreaker:
    """Stops the calls of a `.map_async()` step while the service that it calls fails.

    After `failures` failed attempts in a row, the circuit is open: no call is made, records wait, and no more input is
    taken. After `wait`, one call is made: if it succeeds, the circuit is closed again, otherwise it is open for another
    `wait`. The tasks of a process share the circuit of a step.

    Args:
        failures: How many attempts in a row have to fail.
        wait: How long no call is made.
        ignore: Types of exceptions that say nothing about the service, such as that of a rejected value. They count
            as an answer of the service.

    Raises:
        TopologyError: A value is wrong.

    Example:
        >>> breaker = tm.CircuitBreaker(failures=5, wait="30s", ignore=(ValueError,))
        >>> async def with_rate(order):
        ...     return {**order, "rate": 1.1}  # here: ask a service
        >>> rated = orders.map_async(with_rate, retries=10, circuit_breaker=breaker, value=tm.json)
    """

    failures: int = 5
    wait: Duration = "30s"
    ignore: tuple[type[Exception], ...] = ()

    def __post_init__(self) -> None:
        if not _is_count(self.failures):
            raise TopologyError(
                f"tm.CircuitBreaker(failures=) takes a whole number from 1 upward, not {self.failures!r}"
            )
        parse_duration(self.wait, "tm.CircuitBreaker(wait=)", at_least=1)
        if not _are_exceptions(self.ignore):
            raise TopologyError(
                "tm.CircuitBreaker(ignore=) takes a tuple of exception types, such as (ValueError,), not "
                f"{self.ignore!r}"
            )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _are_exceptions(value: object) -> bool:
    types = cast("tuple[object, ...]", value) if isinstance(value, tuple) else (None,)
    return all(isinstance(each, type) and issubclass(each, Exception) for each in types)
