"""What the loop has asked the recovery for and what came of it, kept between their two threads.

A request that is taken back leaves nothing behind, however far the recovery has come with it: what it opened for that
request is closed, and never taken for the answer to a later request for the same task. Between the two the task may
have been somebody else's.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping

from ..ids import TaskId
from .opening import Closed, Ready

__all__ = ["Requests"]


class Requests:
    """Requests by task, each with a number that grows when one is taken back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers: dict[TaskId, int] = {}
        self._out: list[Ready | Closed | BaseException] = []

    # In the loop's thread

    def made(self, tasks: Iterable[TaskId]) -> Mapping[TaskId, int]:
        """The numbers of requests for these tasks."""
        with self._lock:
            return {task: self._numbers.get(task, 0) for task in tasks}

    def taken_back(self, tasks: Iterable[TaskId]) -> None:
        """No answer to what was asked for these tasks until now is wanted any more."""
        unwanted = frozenset(tasks)
        with self._lock:
            for task in unwanted:
                self._numbers[task] = self._numbers.get(task, 0) + 1
            gone = [item for item in self._out if isinstance(item, Ready) and item.task in unwanted]
            self._out = [item for item in self._out if item not in gone]
        for ready in gone:
            ready.close()

    def answers(self) -> list[Ready | Closed]:
        """What was answered since the last call. Raises what made the recovery fail."""
        with self._lock:
            out, self._out = self._out, []
        found = [item for item in out if not isinstance(item, BaseException)]
        for item in out:
            if isinstance(item, BaseException):
                close(found)
                raise item
        return found

    def close(self) -> None:
        """Closes what nobody will fetch."""
        with self._lock:
            out, self._out = self._out, []
        close(out)

    # In the recovery's thread

    def wanted(self, task: TaskId, number: int) -> bool:
        """Whether a request was not taken back."""
        with self._lock:
            return self._numbers.get(task, 0) == number

    def answer(self, item: Ready | Closed | BaseException) -> None:
        """Hands something out."""
        with self._lock:
            self._out.append(item)

    def ready(self, number: int, item: Ready) -> None:
        """Hands out what a request has led to, or closes it."""
        with self._lock:
            wanted = self._numbers.get(item.task, 0) == number
            if wanted:
                self._out.append(item)
        if not wanted:
            item.close()


def close(items: Iterable[Ready | Closed | BaseException]) -> None:
    for item in items:
        if isinstance(item, Ready):
            item.close()
