"""The queue of results between the recovery thread and the main thread.

A cancelled opening leaves nothing open, whatever stage it has reached. Its stores are closed, and never taken for the
result of a later opening of the same task; another member may have owned the task in between. Each opening has a unique
number.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ..ids import TaskId
from .opening import Closed, Ready

__all__ = ["Requests"]


class Requests:
    """The results of recovery, and the cancellations that it has not carried out yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled: set[int] = set()
        """Cancelled openings, until recovery has closed their stores."""
        self._answers: list[Ready | Closed | BaseException] = []

    # In the main thread

    def cancel(self, openings: Iterable[int]) -> None:
        """Cancel openings: no task becomes ready by them from now on."""
        unwanted = frozenset(openings)
        with self._lock:
            self._cancelled |= unwanted
            ready = [item for item in self._answers if isinstance(item, Ready) and item.opening in unwanted]
            self._answers = [item for item in self._answers if item not in ready]
        close(ready)

    def answers(self) -> list[Ready | Closed]:
        """Return the results since the last call. Raises the failure of the recovery thread."""
        with self._lock:
            answers, self._answers = self._answers, []
        found = [item for item in answers if not isinstance(item, BaseException)]
        for item in answers:
            if isinstance(item, BaseException):
                close(found)
                raise item
        return found

    def close(self) -> None:
        """Close the tasks that are ready but were not fetched."""
        with self._lock:
            answers, self._answers = self._answers, []
        close(answers)

    # In the recovery thread

    def wanted(self, opening: int) -> bool:
        """Return whether an opening has not been cancelled."""
        with self._lock:
            return opening not in self._cancelled

    def ready(self, item: Ready) -> None:
        """Add a task that is ready, or close it if its opening is cancelled."""
        with self._lock:
            wanted = item.opening not in self._cancelled
            if wanted:
                self._answers.append(item)
        if not wanted:
            item.close()

    def closed(self, task: TaskId, opening: int) -> None:
        """Record that everything of a cancelled opening is closed."""
        with self._lock:
            self._cancelled.discard(opening)
            self._answers.append(Closed(task, opening))

    def failed(self, failure: BaseException) -> None:
        """Record the failure that ended the thread."""
        with self._lock:
            self._answers.append(failure)


def close(items: Iterable[Ready | Closed | BaseException]) -> None:
    for item in items:
        if isinstance(item, Ready):
            item.close()
