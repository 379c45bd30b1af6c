"""An asyncio event loop in virtual time, and the simulated form of the membership thread.

The session runs on it unchanged: tasks, futures and timeouts are those of asyncio. One `resume` runs what is ready.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from typing import Any, TypeVar, cast

from tidemill.engine.errors import Retryable
from tidemill.engine.group.background import Background
from tidemill.engine.threads import Failure

from .world import World

__all__ = ["EventLoop", "FiberBackground"]

T = TypeVar("T")
ROUNDS = 1000
"""The maximum number of rounds in which the tasks of a dead process end."""


class EventLoop(asyncio.AbstractEventLoop):
    """The subset of an event loop that tasks, futures and timeouts need."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._soon: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._closed = False
        self.failure: BaseException | None = None
        """The uncaught exception of a callback."""

    # Interface to the scheduler

    def ready(self, now: int) -> bool:
        return bool(self._soon) or bool(self._timers and self._timers[0][0] <= now / 1000)

    def due(self) -> int | None:
        while self._timers and self._timers[0][2].cancelled():
            heappop(self._timers)
        return -int(-self._timers[0][0] * 1000 // 1) if self._timers else None

    def resume(self) -> None:
        now = self.time()
        timers, soon = self._timers, self._soon
        while timers and timers[0][0] <= now:
            soon.append(heappop(timers)[2])
        asyncio._set_running_loop(self)
        try:
            for _ in range(len(soon)):
                handle = soon.popleft()
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)

    def kill(self) -> None:
        """End the tasks of a dead process, with no visible effect."""
        self._closed = True
        for _ in range(ROUNDS):
            ending, self._tasks = self._tasks, []
            for task in ending:
                task.cancel()
            if not self._soon:
                break
            self.resume()
        self._timers.clear()

    # Interface to asyncio

    def time(self) -> float:
        return self._world.now / 1000

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._numbers += 1
        heappush(self._timers, (when, self._numbers, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        pass

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """Run the function a moment later, in place of a thread: it has no visible effects."""
        future: asyncio.Future[Any] = self.create_future()

        def work() -> None:
            try:
                future.set_result(func(*args))
            except Exception as failure:
                future.set_exception(failure)

        self.call_later(0.001, work)
        return future

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name)
        self._tasks.append(task)
        if len(self._tasks) > 64:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed and self.failure is None:
            self.failure = context.get("exception") or RuntimeError(str(context))


class FiberCondition:
    """A condition for fibers, of which only one runs at a time: waiting yields, notifying is not needed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __enter__(self) -> bool:
        return True

    def __exit__(self, *_: object) -> None:
        pass

    def wait_for(self, predicate: Callable[[], bool], timeout: float) -> bool:
        return predicate() or self._world.wait(predicate, int(timeout * 1000))

    def notify_all(self) -> None:
        pass


class FiberFuture:
    """The future result of a coroutine, for which a fiber can wait."""

    def __init__(self, world: World, loop: EventLoop, coroutine: Coroutine[object, object, Any]) -> None:
        self._world = world
        self._coroutine = coroutine
        self._task: asyncio.Task[Any] | None = None
        self._loop = loop
        loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)

    def done(self) -> bool:
        return self._task is not None and self._task.done()

    def cancel(self) -> bool:
        return self._task is not None and self._task.cancel()

    def result(self, timeout: float | None = None) -> Any:
        self._world.wait(self.done, None if timeout is None else int(timeout * 1000))
        if not self.done():
            raise TimeoutError
        assert self._task is not None
        return self._task.result()


class FiberBackground(Background):
    """The membership thread, as an event loop that gets turns like any other actor."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop: EventLoop = EventLoop(world)
        self._failure = Failure()
        self._live: asyncio.Task[None] | None = None

    @property
    def loop(self) -> EventLoop:
        return self._loop

    def condition(self) -> threading.Condition:
        return cast("threading.Condition", FiberCondition(self._world))

    def now(self) -> float:
        return self._loop.time()

    @property
    def alive(self) -> bool:
        return self._live is not None and not self._live.done()

    def start(self, main: Coroutine[object, object, None]) -> None:
        self._live = self._loop.create_task(main)
        self._live.add_done_callback(self._ended)

    def soon(self, function: Callable[..., object], *arguments: object) -> None:
        if self.alive:
            self._loop.call_soon(self._call, function, *arguments)

    def check(self) -> None:
        if self._loop.failure is not None:
            raise self._loop.failure
        self._failure.check()

    def submit(self, coroutine: Coroutine[object, object, T]) -> Any:
        return FiberFuture(self._world, self._loop, coroutine)

    def result(self, coroutine: Coroutine[object, object, T], timeout: float) -> T:
        future = self.submit(coroutine)
        try:
            return future.result(timeout + 1)
        except TimeoutError as failure:
            future.cancel()
            raise Retryable(f"Kafka did not answer within {timeout:g} s") from failure

    def join(self, timeout: float) -> None:
        self._world.wait(lambda: not self.alive, int(timeout * 1000))
