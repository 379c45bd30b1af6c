"""Threads that run beside the main one, none of which ends unheard.

A thread of the engine runs until it is told to stop. What it raises is raised again in the main thread by `check`,
which the owner of the thread calls wherever the main thread passes by. What nobody expected is logged at once as well,
with its traceback: the main thread may be in a long call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .errors import Fatal, Fenced, Retryable, StateCorrupt, TidemillError

__all__ = ["Failure", "Thread"]

LOG = logging.getLogger("tidemill.threads")


class Failure:
    """The first thing that went wrong beside the main thread, kept until that asks. May be used by several threads."""

    def __init__(self) -> None:
        self._first: BaseException | None = None

    def keep(self, where: str, failure: BaseException) -> None:
        """Something went wrong there that nobody expected."""
        if self._first is not None:
            return
        self._first = failure
        if not isinstance(failure, TidemillError):
            LOG.critical("%s has failed: %r", where, failure, exc_info=failure)

    def check(self) -> None:
        """Raises what was kept; as Fatal where the main thread would go on after it, since nobody does the work."""
        failure = self._first
        if isinstance(failure, (Retryable, Fenced, StateCorrupt)):
            raise Fatal(str(failure)) from failure
        if failure is not None:
            raise failure


class Thread:
    """A daemon thread whose failure is heard."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        self._body = body
        self._failure = Failure()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts it."""
        self._thread.start()

    def check(self) -> None:
        """Raises what it has ended with."""
        self._failure.check()

    def join(self, timeout: float | None = None) -> None:
        """Waits for its end, at most `timeout` seconds; not at all when it was never started."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._body()
        except BaseException as failure:  # the main thread raises it
            self._failure.keep(f"the thread {self._thread.name}", failure)
