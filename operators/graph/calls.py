"""What a step that calls coroutine functions asks of whoever runs it: calls to start, answers to collect.

Calls are values that go out and answers values that come back; where and on which thread the functions run is the
engine's business (`engine/runtime/async_calls.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

__all__ = ["Answer", "Call", "CallOptions", "Calls", "Line"]


class Call(NamedTuple):
    """A call to make, under a number that its answer will have."""

    number: int
    value: Any


class Answer(NamedTuple):
    """How a call ended: with a value, or with an error."""

    number: int
    value: Any
    error: BaseException | None


@dataclass(frozen=True)
class CallOptions:
    """How a call is made. Times are in ms."""

    timeout: int
    """How long one attempt may take."""
    retries: int
    """How many attempts more, after the first."""
    backoff: int
    """How long to wait before the second attempt; twice as long before each further one."""


class Line(Protocol):
    """The calls of one step at work."""

    def start(self, calls: Iterable[Call]) -> None:
        """Makes calls."""
        ...

    def answers(self) -> list[Answer]:
        """The calls that have ended since the last time, in the order they ended."""
        ...

    def close(self) -> None:
        """Cancels what is under way; no answer comes any more."""
        ...


class Calls(Protocol):
    """Runs calls."""

    def line(self, function: Callable[[Any], Any], options: CallOptions) -> Line: ...
