"""Async calls that run at once, without a thread, and complete out of order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tidemill.operators.graph.calls import AsyncCall, AsyncCallOptions, CallContext, CallResult

__all__ = ["Answers"]


class Answers:
    """Replaces the event loop of the engine."""

    def line(self, step: str, function: Callable[..., Any], options: AsyncCallOptions) -> Line:
        return Line(function)


class Line:
    """The calls of one step."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self.prefix = "line"
        self._answers: list[CallResult] = []

    def start(self, calls: Iterable[AsyncCall]) -> None:
        self._answers.extend(self._answer(call) for call in calls)

    def answers(self) -> list[CallResult]:
        """Return half of the results, the last ones first, so that others wait."""
        at = len(self._answers) // 2
        answered, self._answers = self._answers[at:][::-1], self._answers[:at]
        return answered

    def close(self) -> None:
        self._answers.clear()

    def _answer(self, call: AsyncCall) -> CallResult:
        try:
            coroutine = self._function(*((call.value, CallContext(call.key)) if call.key else (call.value,)))
            while True:
                coroutine.send(None)
        except StopIteration as done:
            return CallResult(call.number, done.value, None)
        except Exception as error:
            return CallResult(call.number, None, error)
