"""Virtual time, and the scheduler that chooses by a seed which actor runs next.

Each thread of the engine is a `Fiber` or an event loop. `World.turn` chooses among those that can run, by a seeded
random generator. The code of the engine runs unchanged in them; it yields where it would use Kafka or wait, and nowhere
else. So a schedule is a function of its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Protocol

import greenlet

__all__ = ["Crashed", "Fiber", "Stuck", "World"]

STEPS_MS = (0, 0, 0, 0, 1, 1, 2, 5)
"""The duration of a turn."""
IDLE_MS = 50
"""The time step when there is no actor and no event."""
EPOCH = 1_700_000_000_000


class Crashed(BaseException):
    """Ends the fibers of a process that died; no part of the engine may handle it."""


class Stuck(AssertionError):
    """No actor can make progress, or a condition did not become true in time."""


class Actor(Protocol):
    """The interface of what can be given a turn."""

    def ready(self, now: int) -> bool: ...

    def due(self) -> int | None:
        """Return when it will be ready by itself, or None if it waits for another actor."""
        ...

    def resume(self) -> None: ...


class Owner(Protocol):
    """The owner of a fiber: a process."""

    name: str
    alive: bool
    frozen: bool


class Fiber:
    """A thread of a process in virtual time."""

    def __init__(self, world: World, owner: Owner, name: str, body: Callable[[], None]) -> None:
        self._world = world
        self._body = body
        self.owner = owner
        self.name = name
        self.done = False
        self.waits_for: Callable[[], bool] | None = None
        self.until: int | None = None
        self._greenlet = greenlet.greenlet(self._run)

    def ready(self, now: int) -> bool:
        if self.done:
            return False
        if self.waits_for is None:
            return self.until is None or now >= self.until
        return (self.until is not None and now >= self.until) or self.waits_for()

    def due(self) -> int | None:
        return None if self.done else self.until

    def resume(self) -> None:
        self._switch(self._greenlet.switch)

    def kill(self) -> None:
        """End it at its current point; its `finally` blocks have no effect, since its process is dead."""
        if not self._greenlet:
            self.done = True  # it has not started
        elif not self.done:
            self._switch(lambda: self._greenlet.throw(Crashed()))

    def _switch(self, go: Callable[[], object]) -> None:
        before, self._world.fiber = self._world.fiber, self
        try:
            go()
        finally:
            self._world.fiber = before

    def _run(self) -> None:
        try:
            self._body()
        except Crashed:
            pass
        finally:
            self.done = True


class World:
    """The state of a schedule: its time, its random choices and its trace."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0
        """Milliseconds since the start."""
        self.turns = 0
        self.fiber: Fiber | None = None
        self.trace: list[tuple[Any, ...]] = []
        self.at_pause: Callable[[Owner, str], None] | None = None
        """Called at every point where a fiber yields; may kill or pause its process there."""
        self._hub = greenlet.getcurrent()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._actors: list[tuple[Owner, Actor]] = []

    # For actors

    def note(self, *what: Any) -> None:
        """Add an entry to the trace."""
        self.trace.append((self.now, *what))

    def later(self, ms: int, action: Callable[[], None]) -> None:
        """Run an action after `ms`, whichever processes have died."""
        self._numbers += 1
        heappush(self._timers, (self.now + ms, self._numbers, action))

    def pause(self, what: str) -> None:
        """Yield at a point between two visible effects: another actor may run, and the process may die here."""
        fiber = self._here()
        self.trace.append((self.now, fiber.owner.name, what))
        if self.at_pause is not None:
            self.at_pause(fiber.owner, what)
        self._hub.switch()

    def wait(self, ready: Callable[[], bool] | None, ms: int | None = None) -> bool:
        """Wait until `ready`, at most `ms`; return False after a timeout."""
        fiber = self._here()
        fiber.waits_for, fiber.until = ready, None if ms is None else self.now + ms
        try:
            self._hub.switch()
        finally:
            fiber.waits_for = fiber.until = None
        return ready is None or ready()

    def _here(self) -> Fiber:
        fiber = self.fiber
        assert fiber is not None, "only a fiber can wait"
        if not fiber.owner.alive:
            raise Crashed
        return fiber

    # For the scheduler

    def add(self, owner: Owner, actor: Actor) -> None:
        """Give turns to this actor from now on, while its owner lives."""
        self._actors.append((owner, actor))

    def remove(self, owner: Owner) -> None:
        """Give no more turns to the actors of this owner."""
        self._actors = [(other, actor) for other, actor in self._actors if other is not owner]

    def turn(self) -> None:
        """Deliver due events and run one actor; if none is ready, advance the time until one is."""
        self.turns += 1
        now = self.now
        timers = self._timers
        while timers and timers[0][0] <= now:
            heappop(timers)[2]()
        able = [actor for owner, actor in self._actors if not owner.frozen and actor.ready(now)]
        if able:
            chance = self.random.random()
            able[int(chance * len(able))].resume()
            self.now += STEPS_MS[int(chance * 8191) & 7]
            return
        moments = [due for owner, actor in self._actors if not owner.frozen and (due := actor.due()) is not None]
        if timers:
            moments.append(timers[0][0])
        self.now = max(now + 1, min(moments)) if moments else now + IDLE_MS

    def run_until(self, reached: Callable[[], bool], ms: int, what: str) -> None:
        """Run turns until the condition is true. Raises Stuck after `ms`."""
        end = self.now + ms
        while not reached():
            if self.now > end:
                raise Stuck(f"after {ms / 1000:g} s the condition is not true: {what}")
            for _ in range(8):
                self.turn()


class ProcessClock:
    """The clock of a process; its wall clock may be wrong and may jump."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.skew = 0

    def now(self) -> int:
        return EPOCH + self._world.now + self.skew

    def monotonic(self) -> int:
        return self._world.now

    def sleep(self, ms: int) -> None:
        self._world.wait(None, ms)
