"""Runs the coroutine functions of a process's steps: one event loop in a thread of its own, started by the first call.

Each attempt has a time limit; one that fails is tried again after a pause that doubles each time. Answers wait in a
queue until the step that called asks for them, so a step hears of them on the thread that runs it. A function that is
an asynchronous context manager as well, to hold a session or a pool, is entered before its first call and exited at the
end, once a process.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from ...operators.graph.calls import Answer, Call, CallOptions
from ..threads import Thread

__all__ = ["EventLoopCalls"]

LOG = logging.getLogger("tidemill.calls")
LONGEST_PAUSE_MS = 30_000
JITTER = 0.2
"""A pause is longer or shorter by up to this part, so that calls that failed together do not come again together."""
PATIENCE_SECONDS = 5.0


class EventLoopCalls:
    """The calls of one process."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._answered = threading.Event()
        self._opening: dict[int, asyncio.Task[Any]] = {}
        self._opened: list[AbstractAsyncContextManager[Any]] = []

    def line(self, function: Callable[[Any], Any], options: CallOptions) -> _Line:
        """The calls of one step at work."""
        return _Line(self, function, options)

    def wait(self, seconds: float) -> bool:
        """Waits until some call has ended since the last time; False when none has."""
        ended = self._answered.wait(seconds)
        self._answered.clear()
        return ended

    def close(self) -> None:
        """Cancels all calls and ends the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE_SECONDS)
            self._loop = self._thread = None

    def post(self, action: Callable[[], None]) -> None:
        """Does something on the event loop."""
        if self._loop is None:
            loop = self._loop = asyncio.new_event_loop()
            self._thread = Thread("tidemill-calls", lambda: self._run(loop))
            self._thread.start()
        self._loop.call_soon_threadsafe(action)

    async def opened(self, function: Any) -> Any:
        """The function, entered if it is a context manager."""
        name = id(function)
        if not isinstance(function, AbstractAsyncContextManager):
            return function
        if name not in self._opening:
            entering = self._open(cast("AbstractAsyncContextManager[Any]", function))
            self._opening[name] = asyncio.get_running_loop().create_task(entering)
        try:
            return await asyncio.shield(self._opening[name])
        except Exception:
            self._opening.pop(name, None)
            raise

    async def _open(self, function: AbstractAsyncContextManager[Any]) -> Any:
        entered = await function.__aenter__()
        self._opened.append(function)
        return entered

    async def _end(self) -> None:
        """Cancels what is under way and exits what was entered, on the event loop."""
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        for function in reversed(self._opened):
            try:
                await function.__aexit__(None, None, None)
            except Exception:
                LOG.exception("%r could not be closed", function)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        """The thread: runs until it is stopped."""
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            loop.run_until_complete(self._end())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    def ended(self) -> None:
        """Tells who waits that an answer is there."""
        self._answered.set()

    def check(self) -> None:
        """Raises what the thread has ended with."""
        if self._thread is not None:
            self._thread.check()


class _Line:
    """One step's calls. All but `answers` is done on the event loop."""

    def __init__(self, calls: EventLoopCalls, function: Callable[[Any], Any], options: CallOptions) -> None:
        self._calls = calls
        self._function = function
        self._options = options
        self._answers: deque[Answer] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, calls: Iterable[Call]) -> None:
        made = tuple(calls)
        self._calls.post(lambda: self._begin(made))

    def answers(self) -> list[Answer]:
        self._calls.check()
        waiting = self._answers
        return [waiting.popleft() for _ in range(len(waiting))]

    def close(self) -> None:
        self._closed = True
        if self._tasks:
            self._calls.post(self._cancel)

    def _begin(self, calls: tuple[Call, ...]) -> None:
        if self._closed:
            return
        for call in calls:
            task = asyncio.get_running_loop().create_task(self._answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answer(self, call: Call) -> None:
        try:
            answer = Answer(call.number, await self._attempts(call.value), None)
        except asyncio.CancelledError as error:
            if self._closed:
                raise
            answer = Answer(call.number, None, error)  # the function cancelled itself
        except Exception as error:
            answer = Answer(call.number, None, error)
        self._answers.append(answer)
        self._calls.ended()

    async def _attempts(self, value: Any) -> Any:
        options = self._options
        for attempt in range(options.retries):
            try:
                return await self._attempt(value)
            except Exception:
                await asyncio.sleep(pause(options.backoff, attempt, random.uniform(-JITTER, JITTER)) / 1000)
        return await self._attempt(value)

    async def _attempt(self, value: Any) -> Any:
        function = await self._calls.opened(self._function)
        awaitable = function(value)
        if not inspect.isawaitable(awaitable):
            raise TypeError(
                f"the function of .map_async() gave {awaitable!r}, which cannot be awaited: it must be a coroutine "
                "function (async def)"
            )
        try:
            return await asyncio.wait_for(awaitable, self._options.timeout / 1000)
        except asyncio.TimeoutError as error:
            raise TimeoutError(f"no answer within {self._options.timeout} ms") from error


def pause(first: int, attempt: int, jitter: float) -> float:
    """Ms to wait after the attempt with this number, from 0."""
    return min(first * 2.0**attempt, LONGEST_PAUSE_MS) * (1 + jitter)
