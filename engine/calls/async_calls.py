"""Runs the coroutine functions of steps on one event loop per process, in a separate thread.

The thread starts with the first call. Each attempt waits for the limits of its step, then has a timeout; a failed
attempt is retried after a pause that doubles each time. Results wait in a queue until the calling step fetches them,
so the step handles them on the thread that runs it. A function that is also an asynchronous context manager, to hold a
session or a pool, is entered before its first call and exited at the end, once per process.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import random
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from ...operators.graph.calls import AsyncCall, AsyncCallOptions, CallContext, CallResult
from ..clock import SYSTEM, Clock
from ..event_loop import cancel_others, run_to_end
from ..threads import Thread
from .call_limits import CallLimits
from .figures import CallFigures

__all__ = ["AsyncCallExecutor"]

LOG = logging.getLogger("tidemill.calls")
LONGEST_PAUSE_MS = 30_000
JITTER = 0.2
"""Relative jitter of a pause, so that calls that failed together are not retried together."""
JOIN_SECONDS = 5.0


class AsyncCallExecutor:
    """The asynchronous calls of one process."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._limits: dict[str, CallLimits] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._closing = asyncio.Event()
        self._answered = threading.Event()
        self._opening: dict[int, asyncio.Task[Any]] = {}
        self._opened: list[AbstractAsyncContextManager[Any]] = []

    @property
    def figures(self) -> CallFigures:
        """What has come of the calls so far, for the thread that runs the tasks."""
        limits = self._limits.items()
        circuits = ((step, limit.circuit) for step, limit in limits if limit.users)
        return CallFigures(
            {step: limit.failures for step, limit in limits},
            {step: circuit.open_since for step, circuit in circuits if circuit is not None},
        )

    def line(self, step: str, function: Callable[..., Any], options: AsyncCallOptions) -> _StepCalls:
        """Return an executor for the calls of one step in one task; its tasks share the limits."""
        if step not in self._limits:
            self._limits[step] = CallLimits(step, options, self._clock)
        return _StepCalls(self, function, options, self._limits[step])

    def wait(self, seconds: float) -> bool:
        """Wait until a call has ended since the last wait; return False on timeout."""
        ended = self._answered.wait(seconds)
        self._answered.clear()
        return ended

    def close(self) -> None:
        """Cancel all calls and stop the thread."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._closing.set)
            self._thread.join(JOIN_SECONDS)
            self._loop = self._thread = None

    def post(self, action: Callable[[], None]) -> None:
        """Run an action on the event loop."""
        if self._loop is None:
            loop, self._closing = asyncio.new_event_loop(), asyncio.Event()
            self._loop = loop
            self._thread = Thread("tidemill-calls", lambda: run_to_end(loop, self._live()))
            self._thread.start()
        self._loop.call_soon_threadsafe(action)

    async def opened(self, function: Any) -> Any:
        """Return the function, entered if it is a context manager."""
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

    async def _live(self) -> None:
        """Wait for the end; then cancel pending calls and exit context managers, on the event loop."""
        await self._closing.wait()
        await cancel_others()
        for function in reversed(self._opened):
            try:
                await function.__aexit__(None, None, None)
            except Exception:
                LOG.exception("%r could not be closed", function)

    def ended(self) -> None:
        """Wake up `wait`: a result is available."""
        self._answered.set()

    def check(self) -> None:
        """Raise the failure that ended the thread, if any."""
        if self._thread is not None:
            self._thread.check()


class _StepCalls:
    """The calls of one step. Except for `answers`, all work is done on the event loop."""

    def __init__(
        self, calls: AsyncCallExecutor, function: Callable[..., Any], options: AsyncCallOptions, limits: CallLimits
    ) -> None:
        self._calls = calls
        self._function = function
        self._options = options
        self._limits = limits
        limits.users += 1
        self._retrying = AsyncRetrying(
            stop=stop_after_attempt(1 + options.retries),
            wait=lambda state: retry_pause(options.backoff, state),
            retry=retry_if_exception_type(Exception),
            reraise=True,
        )
        self.prefix = uuid.uuid4().hex
        self._answers: deque[CallResult] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, calls: Iterable[AsyncCall]) -> None:
        made = tuple(calls)
        self._calls.post(lambda: self._begin(made))

    def answers(self) -> list[CallResult]:
        self._calls.check()
        waiting = self._answers
        return [waiting.popleft() for _ in range(len(waiting))]

    def close(self) -> None:
        if not self._closed:
            self._limits.users -= 1
        self._closed = True
        if self._tasks:
            self._calls.post(self._cancel)

    def _begin(self, calls: tuple[AsyncCall, ...]) -> None:
        if self._closed:
            return
        for call in calls:
            task = asyncio.get_running_loop().create_task(self._answer(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def _answer(self, call: AsyncCall) -> None:
        try:
            answer = CallResult(call.number, await self._attempts(call), None)
        except asyncio.CancelledError as error:
            if self._closed:
                raise
            answer = CallResult(call.number, None, error)  # cancelled by the function itself
        except Exception as error:
            answer = CallResult(call.number, None, error)
        self._answers.append(answer)
        self._calls.ended()

    async def _attempts(self, call: AsyncCall) -> Any:
        async def attempt() -> Any:
            return await self._limits.attempt(lambda: self._attempt(call))

        return await (self._retrying.copy()(attempt) if self._options.retries else attempt())

    async def _attempt(self, call: AsyncCall) -> Any:
        function = await self._calls.opened(self._function)
        awaitable = function(call.value, CallContext(call.key)) if call.key else function(call.value)
        if not inspect.isawaitable(awaitable):
            raise TypeError(
                f"the function of .map_async() returned {awaitable!r}, which cannot be awaited: it must be a coroutine "
                "function (async def)"
            )
        try:
            return await asyncio.wait_for(awaitable, self._options.timeout / 1000)
        except asyncio.TimeoutError as error:
            raise TimeoutError(f"no answer within {self._options.timeout} ms") from error


def retry_pause(first: int, state: RetryCallState) -> float:
    """Return the pause in seconds before the next attempt."""
    return pause(first, state.attempt_number - 1, random.uniform(-JITTER, JITTER)) / 1000


def pause(first: int, attempt: int, jitter: float) -> float:
    """Return the pause in ms after the attempt with this number, counted from 0."""
    return min(first * 2.0**attempt, LONGEST_PAUSE_MS) * (1 + jitter)
