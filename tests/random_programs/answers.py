"""Calls that are made at once, without a thread, and answered in another order than they were made in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tidemill.operators.graph.calls import Answer, Call, CallOptions

__all__ = ["Answers"]


class Answers:
    """In place of the engine's event loop."""

    def line(self, function: Callable[[Any], Any], options: CallOptions) -> Line:
        return Line(function)


class Line:
    """The calls of one step."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function
        self._answers: list[Answer] = []

    def start(self, calls: Iterable[Call]) -> None:
        self._answers.extend(self._answer(call) for call in calls)

    def answers(self) -> list[Answer]:
        """Half of the answers, the last first, so that others wait."""
        at = len(self._answers) // 2
        answered, self._answers = self._answers[at:][::-1], self._answers[:at]
        return answered

    def close(self) -> None:
        self._answers.clear()

    def _answer(self, call: Call) -> Answer:
        try:
            coroutine = self._function(call.value)
            while True:
                coroutine.send(None)
        except StopIteration as done:
            return Answer(call.number, done.value, None)
        except Exception as error:
            return Answer(call.number, None, error)
