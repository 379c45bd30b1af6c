"""An event loop in a background thread, and calls to it from other threads.

The membership runs on one, so that heartbeats are sent while the processing loop works. All time, threads and waiting
of the control plane are here: a test that substitutes another object decides what runs when. No failure in the thread
goes unnoticed: `check` raises it in the main thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TypeAlias

from typing_extensions import TypeVar

from ..errors import Retryable
from ..event_loop import run_to_end
from ..threads import Failure, Thread

__all__ = ["Background", "Spawn"]

T = TypeVar("T")
ENDED = "the membership in the group has ended"
Spawn: TypeAlias = "Callable[[Coroutine[object, object, object]], asyncio.Task[object]]"


class Background:
    """A thread that runs coroutines. Its methods may be called from any other thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._failure = Failure()
        self._main: Coroutine[object, object, None] | None = None
        self._thread = Thread(name, self._run)

    def condition(self) -> threading.Condition:
        """Return a condition for use between this thread and others."""
        return threading.Condition()

    def now(self) -> float:
        """Return the time of the event loop's clock in seconds; it never goes back."""
        return self._loop.time()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.alive

    def start(self, main: Coroutine[object, object, None]) -> None:
        """Start the thread, which ends when `main` does."""
        self._main = main
        self._thread.start()

    def soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the thread, or do nothing if the thread has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._call, function, *arguments)

    def spawn(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """Run a coroutine concurrently; its failure is raised by `check`.

        To be called in the thread. The caller has to keep the task.
        """
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._ended)
        return task

    def check(self) -> None:
        """Raise the first unexpected error that occurred in the thread."""
        self._failure.check()
        self._thread.check()

    def submit(self, coroutine: Coroutine[object, object, T]) -> concurrent.futures.Future[T]:
        """Run a coroutine in the thread, without waiting for it.

        The future fails with Retryable if the thread ends before the coroutine.
        """
        answered = _until_the_end(coroutine)
        try:
            return asyncio.run_coroutine_threadsafe(answered, self._loop)
        except RuntimeError:  # the loop has ended
            answered.close()
            coroutine.close()
            future: concurrent.futures.Future[T] = concurrent.futures.Future()
            future.set_exception(Retryable(ENDED))
            return future

    def result(self, coroutine: Coroutine[object, object, T], timeout: float) -> T:
        """Return the result of a coroutine. Raise Retryable after `timeout` seconds."""
        future = self.submit(coroutine)
        try:
            return future.result(timeout + 1)
        except concurrent.futures.TimeoutError as failure:
            future.cancel()
            raise Retryable(f"Kafka did not answer within {timeout:g} s") from failure

    def join(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for the end of the thread."""
        if self._thread.alive:
            self._thread.join(timeout)
        elif not self._loop.is_closed():
            self._loop.close()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        try:
            function(*arguments)
        except BaseException as failure:
            self._failure.keep(f"{function} on the event loop", failure)

    def _ended(self, task: asyncio.Task[object]) -> None:
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._failure.keep(f"{task.get_coro()} on the event loop", failure)

    def _run(self) -> None:
        assert self._main is not None
        run_to_end(self._loop, self._main)


async def _until_the_end(coroutine: Coroutine[object, object, T]) -> T:
    try:
        return await coroutine
    except asyncio.CancelledError:
        raise Retryable(ENDED) from None
