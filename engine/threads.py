"""Background threads, with failures that are raised in the main thread.

A thread of the engine runs until it is stopped. An exception that it raises is raised again in the main thread by
`check`, which the owner of the thread calls regularly in the main thread. An unexpected exception is also logged at
once, with its traceback: the main thread may be in a long call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .errors import Fatal, Fenced, Retryable, StateCorrupt, TidemillError

__all__ = ["Failure", "Thread"]

LOG = logging.getLogger("tidemill.threads")


class Failure:
    """The first failure in a background thread, kept for the main thread. Thread-safe."""

    def __init__(self) -> None:
        self._first: BaseException | None = None

    def keep(self, where: str, failure: BaseException) -> None:
        """Keep a failure, and log it if it is unexpected."""
        if self._first is not None:
            return
        self._first = failure
        if not isinstance(failure, TidemillError):
            LOG.critical("%s has failed: %r", where, failure, exc_info=failure)

    def check(self) -> None:
        """Raise the kept failure, as Fatal if the main thread would otherwise continue."""
        failure = self._first
        if isinstance(failure, (Retryable, Fenced, StateCorrupt)):
            raise Fatal(str(failure)) from failure
        if failure is not None:
            raise failure


class Thread:
    """A daemon thread that keeps its failure."""

    def __init__(self, name: str, body: Callable[[], None]) -> None:
        self._body = body
        self._failure = Failure()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def alive(self) -> bool:
        """True while it runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start it."""
        self._thread.start()

    def check(self) -> None:
        """Raise the exception that it ended with."""
        self._failure.check()

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end, at most `timeout` seconds; not at all if it was never started."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._body()
        except BaseException as failure:  # the main thread raises it
            self._failure.keep(f"the thread {self._thread.name}", failure)
