"""One process of the application: the engine's own parts, put together as `engine/runtime/process.py` does, over
simulated clients.

The loop, the recovery and the membership each get turns of their own. A process can be stopped cleanly, frozen and
thawed, cut off, and killed between any two things that others can see.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidemill.engine.config.settings import Settings
from tidemill.engine.group.membership import Membership
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka import consumer, producer, topics
from tidemill.engine.kafka.changelog_reader import ChangelogReader
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.kafka.options import admin_options, consumer_options, restore_options
from tidemill.engine.kafka.topics import Topics
from tidemill.engine.plan.plan import Plan, partition
from tidemill.engine.restore import opening, replay
from tidemill.engine.restore.global_rows import GlobalRows
from tidemill.engine.restore.global_tables import GlobalTables, wait_until_ready
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.restore.recovery import Recovery
from tidemill.engine.runtime import checkpoint, loop
from tidemill.engine.runtime.async_calls import EventLoopCalls
from tidemill.engine.runtime.process import Clients, assemble, leave, membership_settings, producers
from tidemill.engine.serve.stats import Stats
from tidemill.engine.tasks.task import Task
from tidemill.engine.topics.watcher import Watch
from tidemill.operators.policy import ErrorPolicy

from . import programs
from .broker import Broker
from .disk import Disk
from .eventloop import FiberBackground
from .producer import SimulatedProducer
from .reader import SimulatedAdmin, SimulatedConsumer
from .wire import SimulatedWire
from .world import Crashed, Fiber, ProcessClock, World

__all__ = ["Process", "simulated"]


TABLE_MEMORY = 1_000
JOIN_MS = 3_000
"""How long the end of the recovery's thread is waited for."""


class Process:
    """A process that runs a plan."""

    starting: Process | None = None
    """The one whose parts are being made."""

    def __init__(
        self,
        world: World,
        broker: Broker,
        disk: Disk,
        number: int,
        plan: Plan,
        settings: Settings,
        membership: Mapping[str, Any],
        failures: float,
        policy: ErrorPolicy = ErrorPolicy.FAIL,
    ) -> None:
        """`membership` replaces fields of the membership's settings; `failures` is of `SimulatedProducer`."""
        self.name = f"p{number}"
        self.alive = True
        self.frozen = False
        self.exit: BaseException | str = ""
        """"clean", or what it ended with; "" while it runs and after it was killed."""
        self.at_ready: Callable[[Process, Ready], None] | None = None
        """Hears of each task that may run from now on."""
        self.disk = disk
        self.plan = plan
        self.clock = ProcessClock(world)
        self._world = world
        self._broker = broker
        self._settings = settings
        self._failures = failures
        self.stopping = False
        self._producers: list[SimulatedProducer] = []
        self._background = FiberBackground(world)
        disk.next_process()
        Process.starting = self
        wanted = membership_settings(plan, settings, f"{number:032x}", disk)
        clients = Clients(
            Topics(admin_options(settings)),
            Membership(
                replace(wanted, watch_peers=False, node=self.name, **membership),
                wire=SimulatedWire(world, broker, self),
                background=self._background,
            ),
            InputConsumer(consumer_options(settings, 1)),
            ChangelogReader(restore_options(settings, 1)),
            producers(settings),
        )
        self.membership = clients.membership
        self.watch = Watch(partition(plan.topology), plan, clients.topics, settings, self.clock)
        rows = [
            GlobalRows(node, disk.open_table(node.name), policy, TABLE_MEMORY) for node in plan.topology.global_tables
        ]
        reader = ChangelogReader(restore_options(settings, 1))
        interval = settings.metadata_interval
        self.tables = GlobalTables(rows, clients.topics, reader, self.clock, interval, settings.topic_timeout)
        self._stats = Stats()
        self.recovery, self.loop = assemble(
            plan,
            settings,
            clients,
            disk,
            self.clock,
            self._stats,
            policy,
            EventLoopCalls(),
            self.watch,
            self.tables,
        )
        Process.starting = None
        self._watch(self.recovery)
        self._reading = [Fiber(world, self, "tables", self.tables.run)] if rows else []
        self._fibers = [
            Fiber(world, self, "loop", self._run),
            Fiber(world, self, "recovery", self._recover),
            Fiber(world, self, "watch", self._look),
            *self._reading,
        ]
        for fiber in self._fibers:
            world.add(self, fiber)
        world.add(self, self._background.loop)
        world.note(self.name, "starts")

    # Its clients

    def new_producer(self, options: dict[str, Any]) -> SimulatedProducer:
        made = SimulatedProducer(self._world, self._broker, self, options, self._failures)
        self._producers.append(made)
        return made

    def new_consumer(self, options: Mapping[str, Any]) -> SimulatedConsumer:
        return SimulatedConsumer(self._world, self._broker, self, options)

    def new_admin(self, _options: Mapping[str, Any]) -> SimulatedAdmin:
        return SimulatedAdmin(self._world, self._broker, self)

    # What it looks like from outside

    @property
    def member(self) -> str:
        """Its id in the group, "" outside of it."""
        return self.membership.status.member_id

    @property
    def tasks(self) -> Mapping[TaskId, Task]:
        """The tasks that run here."""
        return self.loop.tasks

    def failure(self) -> BaseException | None:
        """What it has ended with, unless that was a clean stop."""
        return self.exit if isinstance(self.exit, BaseException) else None

    # What is done to it

    def stop(self) -> None:
        """SIGTERM."""
        self.stopping = True

    def kill(self) -> None:
        """SIGKILL, wherever it is."""
        if self.alive:
            self._world.note(self.name, "killed")
            self._end()
            self.disk.crash()
            for client in self._producers:
                client.crash()

    def _end(self) -> None:
        self.alive = False
        self._world.remove(self)
        for fiber in self._fibers:
            fiber.kill()
        self._background.loop.kill()

    def bury(self) -> None:
        """Takes the remains of a process away that has ended by itself."""
        if self.alive:
            self._world.note(self.name, "ended", str(self.exit))
            self._end()
            self.disk.crash()

    # Its threads

    def _run(self) -> None:
        try:
            try:
                if wait_until_ready(self.tables, self.clock, lambda: self.stopping, self._stats):
                    self.membership.start()
                    self.loop.run(lambda: self.stopping)
            finally:
                for fiber in self._reading:
                    fiber.kill()
                self.tables.close()
                self.recovery.close()
                self._world.wait(lambda: self._fibers[1].done, JOIN_MS)
                self.watch.close()
                leave(self.membership, self._settings, self.disk)
                self.membership.close()
            self.exit = "clean"
        except Crashed:
            raise
        except BaseException as failure:
            self.exit = failure

    def _recover(self) -> None:
        self.recovery.run(lambda _seconds: self._world.wait(lambda: not self.recovery.idle))

    def _look(self) -> None:
        self.watch.run(lambda seconds: self._world.wait(lambda: not self.watch.idle, int(seconds * 1000)))

    def _watch(self, recovery: Recovery) -> None:
        original = recovery.finished

        def finished() -> list[Ready | Closed]:
            found = original()
            if self.at_ready is not None:
                for item in found:
                    if isinstance(item, Ready):
                        self.at_ready(self, item)
            return found

        recovery.finished = finished


def current(world: World) -> Process:
    """Whose code runs now."""
    owner = world.fiber.owner if world.fiber is not None else Process.starting
    assert isinstance(owner, Process)
    return owner


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """While it lasts, the engine's Kafka clients are simulated ones, and its failpoints are places to die."""

    places: list[tuple[Any, str, Any]] = [
        (producer, "Producer", lambda options: current(world).new_producer(options)),
        (consumer, "Consumer", lambda options: current(world).new_consumer(options)),
        (topics, "AdminClient", lambda options: current(world).new_admin(options)),
        (programs, "labour", lambda: world.wait(None, world.random.randint(50, 150))),
        (opening, "LEAST_RESTORE_MS", 0),
        (producer, "bounded", lambda call, seconds, doing: call()),  # the simulated client always comes back
        *(
            (module, "hit", lambda name: world.pause(f"failpoint {name}"))
            for module in (loop, checkpoint, replay, producer)
        ),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
