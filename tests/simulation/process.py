"""A simulated process: the parts of the engine, composed as in `engine/runtime/process.py`, with simulated clients.

The task executor, the recovery and the membership get separate turns. A process can be stopped cleanly, paused and
resumed, disconnected, and killed between any two visible effects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from tidemill.engine.calls.async_calls import AsyncCallExecutor
from tidemill.engine.config.settings import Settings
from tidemill.engine.group.membership import Membership
from tidemill.engine.ids import TaskId
from tidemill.engine.kafka import consumer, producer, topics
from tidemill.engine.kafka.changelog_reader import ChangelogReader
from tidemill.engine.kafka.consumer import InputConsumer
from tidemill.engine.kafka.options import admin_options, consumer_options, restore_options
from tidemill.engine.kafka.producer import PlainProducer, TransactionalProducer
from tidemill.engine.kafka.topics import Topics
from tidemill.engine.plan.plan import Plan, partition
from tidemill.engine.restore import opening, replay, snapshot_restore
from tidemill.engine.restore.global_rows import GlobalRows
from tidemill.engine.restore.global_tables import GlobalTables, wait_until_ready
from tidemill.engine.restore.opening import Closed, Ready
from tidemill.engine.restore.recovery import Recovery
from tidemill.engine.restore.task_factory import TaskEnvironment
from tidemill.engine.runtime import checkpoint, loop, snapshot_commits, task_manager
from tidemill.engine.runtime.process import Clients, assemble, leave_group, membership_settings, producers
from tidemill.engine.runtime.streams_producer import ProducerFactory
from tidemill.engine.serve.stats import Stats
from tidemill.engine.snapshots import choice, commit_snapshots, downloads, taking
from tidemill.engine.targets.target_threads import TargetThreads
from tidemill.engine.tasks.task import Task
from tidemill.engine.topics.topic_watcher import TopicWatcher
from tidemill.operators.policy import ErrorPolicy

from . import programs
from .broker import Broker
from .bucket import SimulatedBucket
from .disk import Disk
from .eventloop import FiberBackground
from .producer import SimulatedProducer
from .reader import SimulatedAdmin, SimulatedConsumer
from .snapshots import AtOnce, Nonces, ProcessSnapshots
from .wire import SimulatedWire
from .world import Crashed, Fiber, ProcessClock, World

__all__ = ["Process", "read_elsewhere", "simulated"]


TABLE_MEMORY = 1_000
LOOK_MS = 20
"""The interval at which the recovery polls, besides requests, if there are snapshots."""
JOIN_MS = 3_000
"""The maximum time to wait for the end of the recovery thread."""


class Process:
    """A process that runs a plan."""

    starting: Process | None = None
    """The process that is being constructed."""

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
        bucket: SimulatedBucket | None = None,
    ) -> None:
        """`membership` overrides fields of the membership settings; `failures` is that of `SimulatedProducer`.

        `bucket` is the storage of its snapshots, if it takes any.
        """
        self.name = f"p{number}"
        self.alive = True
        self.frozen = False
        self.exit: BaseException | str = ""
        """"clean", or the error with which it ended; "" while it runs and after a kill."""
        self.at_ready: Callable[[Process, Ready], None] | None = None
        """Called for each task that is ready to run."""
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
            ChangelogReader(restore_options(settings, 1), self.clock),
            self._made(producers(settings)),
        )
        self.membership = clients.membership
        self.watch = TopicWatcher(partition(plan.topology), plan, clients.topics, settings, self.clock)
        rows = [
            GlobalRows(node, disk.open_table(node.name), policy, TABLE_MEMORY) for node in plan.topology.global_tables
        ]
        reader = ChangelogReader(restore_options(settings, 1), self.clock)
        interval = settings.metadata_interval
        self.tables = GlobalTables(rows, clients.topics, reader, self.clock, interval, settings.topic_timeout)
        self._stats = Stats()
        taken = bucket and ProcessSnapshots(world, bucket, disk, settings, self.clock, clients.membership)
        self.recovery, self.loop = assemble(
            plan,
            settings,
            clients,
            disk,
            self.clock,
            self._stats,
            TaskEnvironment(
                policy,
                AsyncCallExecutor(),
                self.tables,
                TargetThreads(settings.app_id, self.clock, settings.retry_timeout),
            ),
            self.watch,
            taken and taken.taking,
            taken,
            taken and taken.commits,
        )
        self._looks = LOOK_MS if taken else None
        Process.starting = None
        self._watch(self.recovery)
        self._reading = [Fiber(world, self, "tables", self.tables.run)] if rows else []
        self._fibers = [
            Fiber(world, self, "loop", self._run),
            Fiber(world, self, "recovery", self._recover),
            Fiber(world, self, "watch", self._look),
            *self._reading,
            *(Fiber(world, self, name, body) for name, body in (taken.bodies() if taken else {}).items()),
        ]
        for fiber in self._fibers:
            world.add(self, fiber)
        world.add(self, self._background.loop)
        world.note(self.name, "starts")

    def _made(self, make: ProducerFactory) -> ProducerFactory:
        """Return a factory of producers that use the virtual time."""

        def made(process: str) -> TransactionalProducer | PlainProducer:
            client = make(process)
            if isinstance(client, TransactionalProducer):
                client._now = lambda: self._world.now / 1000
            return client

        return made

    # Kafka clients

    def new_producer(self, options: dict[str, Any]) -> SimulatedProducer:
        made = SimulatedProducer(self._world, self._broker, self, options, self._failures)
        self._producers.append(made)
        return made

    def new_consumer(self, options: Mapping[str, Any]) -> SimulatedConsumer:
        return SimulatedConsumer(self._world, self._broker, self, options)

    def new_admin(self, _options: Mapping[str, Any]) -> SimulatedAdmin:
        return SimulatedAdmin(self._world, self._broker, self)

    # Observable state

    @property
    def member(self) -> str:
        """The member id in the group; "" if it is not a member."""
        return self.membership.status.member_id

    @property
    def tasks(self) -> Mapping[TaskId, Task]:
        """The running tasks."""
        return self.loop.tasks

    def failure(self) -> BaseException | None:
        """The error with which it ended, unless it was a clean stop."""
        return self.exit if isinstance(self.exit, BaseException) else None

    # Control

    def stop(self) -> None:
        """Stop cleanly (SIGTERM)."""
        self.stopping = True

    def kill(self) -> None:
        """Kill at the current point (SIGKILL)."""
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
        """Clean up after a process that has ended by itself."""
        if self.alive:
            self._world.note(self.name, "ended", str(self.exit))
            self._end()
            self.disk.crash()

    # Threads

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
                leave_group(self.membership, self._settings, self.disk)
                self.membership.close()
            self.exit = "clean"
        except Crashed:
            raise
        except BaseException as failure:
            self.exit = failure

    def _recover(self) -> None:
        self.recovery.run(lambda _seconds: self._world.wait(lambda: not self.recovery.idle, self._looks))

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


def read_elsewhere(
    process: Process, ready: Ready, all_of_them: Iterable[Process], members: Container[str]
) -> list[str]:
    """Return the partitions of a task that a task of another member reads."""
    if ready.task not in process.membership.owned():
        return []
    mine = set(process.plan.inputs(ready.task))
    return [
        f"{process.name} reads {sorted(both)} in task {ready.task}, {other.name} reads it in task {task}"
        for other in all_of_them
        if other is not process and other.member in members
        for task in other.membership.owned()
        if (both := mine.intersection(other.plan.inputs(task)))
    ]


def current(world: World) -> Process:
    """Return the process whose code is running."""
    owner = world.fiber.owner if world.fiber is not None else Process.starting
    assert isinstance(owner, Process)
    return owner


@contextlib.contextmanager
def simulated(world: World) -> Iterator[None]:
    """Replace the Kafka clients of the engine by simulated ones, and its failpoints by points of possible death."""

    places: list[tuple[Any, str, Any]] = [
        (producer, "Producer", lambda options: current(world).new_producer(options)),
        (consumer, "Consumer", lambda options: current(world).new_consumer(options)),
        (topics, "AdminClient", lambda options: current(world).new_admin(options)),
        (programs, "labour", lambda: world.wait(None, world.random.randint(50, 150))),
        (opening, "LEAST_RESTORE_MS", 0),
        (taking, "ThreadPoolExecutor", AtOnce),
        (taking, "secrets", Nonces(world)),
        (taking, "INLINE_BYTES", 60),
        (choice, "WORTH_ASKING", 2_000),
        (snapshot_restore, "FOLLOW_MS", 100),
        (snapshot_restore, "PAUSE_MS", 20),
        (commit_snapshots, "LONGEST_PAUSE_MS", 100),
        (commit_snapshots, "PAUSE_STEP_MS", 20),
        (producer, "call_with_deadline", lambda call, seconds, doing: call()),  # the simulated client always returns
        *(
            (module, "hit", lambda name: world.pause(f"failpoint {name}"))
            for module in (
                loop,
                task_manager,
                checkpoint,
                replay,
                producer,
                taking,
                downloads,
                snapshot_commits,
            )
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
