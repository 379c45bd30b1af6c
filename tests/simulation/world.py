"""Virtual time and the one choice that a schedule is made of: whose turn is it?

Everything that would be a thread is a `Fiber` or an event loop in the hands of `World.turn`, which picks among those
that can go on by a seeded generator. Code of the engine runs unchanged in them; it gives the turn away where it would
touch Kafka or wait, and nowhere else. So a schedule is a function of its seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Protocol

import greenlet

__all__ = ["Crashed", "Fiber", "Stuck", "World"]

STEPS_MS = (0, 0, 0, 0, 1, 1, 2, 5)
"""How much time a turn takes."""
IDLE_MS = 50
"""How much time passes when nobody is there and nothing is to come."""
EPOCH = 1_700_000_000_000


class Crashed(BaseException):
    """Ends whatever a process was doing when it died; no part of the engine may act on it."""


class Stuck(AssertionError):
    """Nothing moves any more, or not within bounds."""


class Actor(Protocol):
    """What can be given a turn."""

    def ready(self, now: int) -> bool: ...

    def due(self) -> int | None:
        """When it will be ready by itself, None when it waits for somebody else."""
        ...

    def resume(self) -> None: ...


class Owner(Protocol):
    """Whose fiber it is."""

    name: str
    alive: bool
    frozen: bool


class Fiber:
    """A thread of a process that lives in virtual time."""

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
        """Ends it where it is; what its `finally` blocks do has no effect, since its process is dead."""
        if not self._greenlet:
            self.done = True  # it has not begun
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
    """One schedule: its time, its choices and what happened."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0
        """Milliseconds since the beginning."""
        self.turns = 0
        self.fiber: Fiber | None = None
        self.trace: list[tuple[Any, ...]] = []
        self.at_pause: Callable[[Owner, str], None] | None = None
        """Hears of every place where a fiber gives its turn away, and may end or freeze its process there."""
        self._hub = greenlet.getcurrent()
        self._timers: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = 0
        self._actors: list[tuple[Owner, Actor]] = []

    # For those who act

    def note(self, *what: Any) -> None:
        """Adds to the trace."""
        self.trace.append((self.now, *what))

    def later(self, ms: int, action: Callable[[], None]) -> None:
        """Does something after `ms`, whoever lives or dies."""
        self._numbers += 1
        heappush(self._timers, (self.now + ms, self._numbers, action))

    def pause(self, what: str) -> None:
        """A place between two things that others can see: anybody may go on instead, and the process may die here."""
        fiber = self._here()
        self.trace.append((self.now, fiber.owner.name, what))
        if self.at_pause is not None:
            self.at_pause(fiber.owner, what)
        self._hub.switch()

    def wait(self, ready: Callable[[], bool] | None, ms: int | None = None) -> bool:
        """Waits until `ready`, at most `ms`; False when the time was up first."""
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

    # For the one who schedules

    def add(self, owner: Owner, actor: Actor) -> None:
        """From now on this one is given turns while its owner lives."""
        self._actors.append((owner, actor))

    def remove(self, owner: Owner) -> None:
        """Nobody of this owner gets a turn any more."""
        self._actors = [(other, actor) for other, actor in self._actors if other is not owner]

    def turn(self) -> None:
        """Delivers what is due and lets one actor go on; where nobody can, time passes until somebody can."""
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
        """Turns until something is so. Raises Stuck when it is not after `ms`."""
        end = self.now + ms
        while not reached():
            if self.now > end:
                raise Stuck(f"after {ms / 1000:g} s still not so: {what}")
            for _ in range(8):
                self.turn()


class ProcessClock:
    """The clock of one process; its wall clock may be wrong and may jump."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.skew = 0

    def now(self) -> int:
        return EPOCH + self._world.now + self.skew

    def monotonic(self) -> int:
        return self._world.now

    def sleep(self, ms: int) -> None:
        self._world.wait(None, ms)
