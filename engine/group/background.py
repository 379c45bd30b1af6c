"""An event loop in a thread of its own, and the calls that other threads make to it.

The membership lives on one, so that heartbeats go out while the loop works. Time, threads and waiting of the control
plane are here alone: a test that puts another object in its place decides what runs when. Nothing that goes on here
ends unheard: `check` raises in the main thread what went wrong.
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
from ..threads import Failure, Thread

__all__ = ["Background", "Spawn"]

T = TypeVar("T")
Spawn: TypeAlias = "Callable[[Coroutine[object, object, object]], asyncio.Task[object]]"


class Background:
    """Runs coroutines in a thread. Methods may be called from any other thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._failure = Failure()
        self._main: Coroutine[object, object, None] | None = None
        self._thread = Thread(name, self._run)

    def condition(self) -> threading.Condition:
        """A condition between this thread and others."""
        return threading.Condition()

    def now(self) -> float:
        """Seconds on the event loop's clock, which never goes back."""
        return self._loop.time()

    @property
    def alive(self) -> bool:
        """True while the thread runs."""
        return self._thread.alive

    def start(self, main: Coroutine[object, object, None]) -> None:
        """Starts the thread, which ends when `main` does."""
        self._main = main
        self._thread.start()

    def soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Calls a function in the thread; nothing happens when that has ended."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._call, function, *arguments)

    def spawn(self, coroutine: Coroutine[object, object, object]) -> asyncio.Task[object]:
        """In the thread: runs a coroutine beside others, for the caller to keep. Its failure is raised by `check`."""
        task = asyncio.get_running_loop().create_task(coroutine)
        task.add_done_callback(self._ended)
        return task

    def check(self) -> None:
        """Raises what went wrong in the thread and nobody expected."""
        self._failure.check()
        self._thread.check()

    def submit(self, coroutine: Coroutine[object, object, T]) -> concurrent.futures.Future[T]:
        """Runs a coroutine in the thread, and does not wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def result(self, coroutine: Coroutine[object, object, T], timeout: float) -> T:
        """What a coroutine gives. Raises Retryable after `timeout` seconds."""
        future = self.submit(coroutine)
        try:
            return future.result(timeout + 1)
        except concurrent.futures.TimeoutError as failure:
            future.cancel()
            raise Retryable(f"Kafka did not answer within {timeout:g} s") from failure

    def join(self, timeout: float) -> None:
        """Waits for the end of the thread, at most `timeout` seconds."""
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
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main)
        finally:
            self._loop.close()
