"""Run one schedule from its seed: a fault phase, then recovery, the remaining input, and the checks.

`run(seed)` returns the trace or raises `Violation`, which contains the seed, so that the schedule can be replayed. This
module does not depend on the internals of the engine.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import CommitOutcomeUnknown, Retryable
from tidemill.engine.restore.opening import Ready
from tidemill.operators.policy import ErrorPolicy
from tidemill.state.store import CorruptStore

from .broker import Broker
from .bucket import SimulatedBucket
from .check import Check
from .disk import Disk
from .inputs import Inputs
from .process import Process, read_elsewhere, simulated
from .programs import APP, FORMERS, PROGRAMS, planned
from .schedule import HOT, Trouble, drawn
from .tables import Rates
from .timed_check import TELLING_MS, TimedCheck
from .world import Owner, Stuck, World

__all__ = ["Run", "Schedule", "Violation", "run"]

HEALING_MS = 30_000
"""The maximum time until everything is processed after the end of all faults."""
PATIENCE_MS = 300
"""The maximum time after which the group removes a stopped process."""
QUIET_MS = 15_000
"""The time without faults for static members: longer than the leader's interval between two checks."""
ALLOWED = (Retryable, CommitOutcomeUnknown)
"""Errors with which a process may end that is stopped while Kafka is unavailable. No other process may end: no outage
is as long as `retry_timeout`."""


class Violation(AssertionError):
    """A schedule violated a guarantee."""


@dataclass(frozen=True)
class Run:
    """The result of a schedule."""

    seed: int
    trouble: Trouble
    trace: list[tuple[Any, ...]]
    turns: int
    healing: int
    """The time in ms until everything was processed after the end of all faults."""


class Schedule:
    """A running schedule."""

    def __init__(self, seed: int, trouble: Trouble | None = None) -> None:
        """`trouble` is drawn from the seed by default."""
        self.seed = seed
        self.trouble = trouble = trouble or drawn(seed)
        self.world = World(seed)
        self.chance = self.world.random
        self.broker = Broker(self.world, replace(trouble.network))
        self.program = PROGRAMS[trouble.program]
        self.plan = planned(trouble.program, trouble.partitions, trouble.guarantee, trouble.durability)
        self.plans = [self.plan]
        """The versions of the program that processes run; only the last one after the fault phase."""
        topics = dict.fromkeys(self.program.topics)
        if trouble.former:
            former = next(one for one in FORMERS[trouble.program] if one.name == trouble.former)
            topics.update(dict.fromkeys(former.topics))
            self.plans.insert(0, planned(former.name, trouble.partitions, trouble.guarantee, trouble.durability))
        for topic in topics:
            self.broker.create(topic, trouble.partitions)
        for topic in {one.name: one for plan in self.plans for one in plan.internal}.values():
            self.broker.create(topic.name, topic.partitions)
        self.broker.deletions_kept = trouble.deletions_kept
        self.rates = Rates(self.world, self.broker, trouble.partitions) if self.program.rated else None
        self.inputs = Inputs(self.world, self.broker, self.program, trouble.partitions, trouble.keys)
        self.check = (TimedCheck if self.program.results else Check)(
            self.broker,
            self.program,
            self.plan,
            exactly_once=trouble.guarantee == "exactly_once",
            compacted=trouble.chances.get("compact", 0.0) > 0,
        )
        self.broker.before_delete = self.check.remember
        if self.program.echo:
            self.broker.refuses = self.check.refused
        self.settings = Settings(app_id=APP, guarantee=trouble.guarantee, **trouble.settings)  # pyright: ignore[reportArgumentType]
        self.bucket = None if trouble.bucket is None else SimulatedBucket(self.world, trouble.bucket)
        self.root = Path(tempfile.mkdtemp(prefix="tidemill-sim-")) if trouble.bucket else Path("/nowhere")
        self.processes: list[Process] = []
        self.disks: list[Disk] = []
        self.problems = self.broker.group.problems
        self.numbers = 0
        self.healed = 0
        self._verdict: tuple[Owner, str] | None = None

    def run(self) -> Run:
        """Run the schedule. Raises Violation."""
        try:
            with simulated(self.world):
                try:
                    for _ in range(self.trouble.processes):
                        self.start()
                    self.trouble_lasts()
                    self.heal()
                finally:
                    for process in self.processes:
                        process.kill()
                    shutil.rmtree(self.root, ignore_errors=True)
        except Stuck as stuck:
            self.problems.append(str(stuck))
        if self.problems:
            found = "\n  ".join(self.problems[:10])
            raise Violation(
                f"seed {self.seed} ({self.trouble.program}, {self.trouble.guarantee}): {found}\n"
                f"  with everything that happened: make simulate SEED={self.seed}"
            )
        return Run(self.seed, self.trouble, self.world.trace, self.world.turns, self.healed)

    # Fault phase

    def trouble_lasts(self) -> None:
        trouble, random = self.trouble, self.chance.random
        total = sum(trouble.chances.values())
        self.world.at_pause = self._at_pause
        rate = trouble.records / trouble.turns
        for _ in range(trouble.turns):
            self.world.turn()
            if self._verdict is not None:
                (owner, kind), self._verdict = self._verdict, None
                self._strike(kind, owner)
            if random() < total:
                roll = random() * total
                for kind, likely in trouble.chances.items():
                    roll -= likely
                    if roll < 0:
                        self._strike(kind, self._anyone())
                        break
            if random() < rate:
                self.feed()
            self._look_after()
            if self.problems:
                return
        self.world.at_pause = None

    def _at_pause(self, owner: Owner, what: str) -> None:
        if self.trouble.hot["kill"] + self.trouble.hot["freeze"] == 0 or not what.startswith(HOT):
            return
        roll = self.chance.random()
        for kind, likely in self.trouble.hot.items():
            roll -= likely
            if roll < 0:
                self._verdict = (owner, kind)
                return

    def _anyone(self) -> Process | None:
        return self.chance.choice(self.processes) if self.processes else None

    def _strike(self, kind: str, process: Any) -> None:
        """Inject one fault."""
        world, chance, broker = self.world, self.chance, self.broker
        if kind == "start":
            if len(self.processes) < self.trouble.most:
                self.start()
        elif kind == "outage":
            broker.network.down = True
            world.note("outage")
            world.later(chance.randint(10, 1000), self._end_outage)
        elif kind == "bucket" and self.bucket is not None:
            self.bucket.lose(chance.choice((50, 500, 1500)))
        elif kind == "move":
            world.note("the coordinator moves")
            broker.group.move()
            broker.network.away = chance.choice((14, 15, 16))
            world.later(chance.randint(0, 300), self._arrived)
        elif kind == "expire":
            world.note("expired", *broker.transactions.expire(0))
        elif kind == "compact" and self.rates is not None and chance.random() < 0.7:
            self.rates.compact()
        elif kind == "compact":
            for name in self.plan.subtopologies[chance.randrange(len(self.plan.subtopologies))].changelogs.values():
                log = chance.choice(broker.topics[name])
                log.compact(chance.randint(0, max(0, log.end - 1)), world.now - broker.deletions_kept)
                if chance.random() < self.trouble.behead:
                    log.behead()
        elif process is None or not process.alive:
            return
        elif kind == "kill":
            self.kill(process)
        elif kind == "freeze":
            self.freeze(process)
        elif kind == "stop":
            process.stop()
        elif kind == "cut":
            broker.cut_off.add(process.name)
            world.note(process.name, "cut off")
            world.later(chance.choice((50, 500, 2500)), lambda: self._reconnect(process.name))
        elif kind == "remove the living":
            self.remove(process.member)
        elif kind == "damage":
            world.note(process.name, "damaged", process.disk.damage())
        elif kind == "jump":
            process.clock.skew = chance.randint(-100_000, 100_000)

    def start(self, disk: Disk | None = None) -> None:
        """Start a process on the given directory, that of a dead process, or a new one."""
        used = {id(process.disk) for process in self.processes}
        free = [disk for disk in self.disks if id(disk) not in used]
        if disk is None and free and self.chance.random() < 0.8:
            disk = self.chance.choice(free)
        if disk is None:
            disk = Disk(self.world, self.root / str(len(self.disks)), corrupts=self.trouble.corrupts)
            self.disks.append(disk)
        self.numbers += 1
        instance = f"instance-{self.disks.index(disk)}" if self.trouble.static else None
        process = Process(
            self.world,
            self.broker,
            disk,
            self.numbers,
            self.plans[0] if len(self.plans) == 1 else self.chance.choice(self.plans),
            replace(self.settings, instance_id=instance),
            self.trouble.membership,
            self.trouble.failures,
            ErrorPolicy.SKIP if self.program.echo else ErrorPolicy.FAIL,
            self.bucket,
        )
        process.at_ready = self._ready
        self.processes.append(process)

    def kill(self, process: Process) -> None:
        member = process.member
        process.kill()
        self.processes.remove(process)
        if not self.trouble.static and self.chance.random() < 0.7:  # another member detects its death
            self.world.later(self.chance.randint(0, 100), lambda: self.remove(member))

    def freeze(self, process: Process) -> None:
        """Pause a process (SIGSTOP) and resume it later (SIGCONT); the group may remove it in between."""
        process.frozen = True
        self.world.note(process.name, "frozen")
        member = process.member
        if self.chance.random() < 0.5:
            self.world.later(self.chance.randint(0, PATIENCE_MS), lambda: self.remove(member))
        self.world.later(self.chance.choice((5, 50, 500, 2500)), lambda: self._thaw(process))

    def remove(self, member: str) -> None:
        """Remove a member from the group."""
        if member:
            self.world.note("remove", member, self.broker.group.leave(member))

    def _thaw(self, process: Process) -> None:
        process.frozen = False
        self.world.note(process.name, "thawed")

    def _reconnect(self, name: str) -> None:
        self.broker.cut_off.discard(name)
        self.broker.reconnect()
        self.world.note(name, "reconnected")

    def _arrived(self) -> None:
        self.broker.network.away = 0

    def _end_outage(self) -> None:
        self.broker.network.down = False
        self.broker.reconnect()
        self.world.note("outage over")

    def feed(self) -> None:
        """Write one more input record."""
        if self.rates is not None and self.chance.random() < 0.6:
            self.rates.change(self.trouble.keys)
            return
        self.inputs.write()

    def _look_after(self) -> None:
        """Remove processes that have ended, as their supervisor would."""
        for process in [one for one in self.processes if one.exit or one.failure()]:
            failure = process.failure()
            if failure is not None and not (process.stopping and isinstance(failure, ALLOWED)):
                self.problems.append(f"{process.name} ended with {failure!r}")
            process.bury()
            self.processes.remove(process)

    def _ready(self, process: Process, ready: Ready) -> None:
        if process.member in self.broker.group.members:  # else it is no longer the owner, and has not been notified yet
            self.problems += read_elsewhere(process, ready, self.processes, self.broker.group.members)
            if process.plan is self.plan:
                with contextlib.suppress(CorruptStore):  # the process has not detected it yet
                    self.problems += [f"{process.name}: {text}" for text in self.check.opened(ready)]

    # After the fault phase

    def heal(self) -> None:
        """End all faults, process the remaining input, and check the results."""
        world = self.world
        world.note("healing")
        self.broker.network = self.broker.network.healed()
        for one in (*self.disks, *filter(None, [self.bucket])):
            one.heal()
        self.broker.cut_off.clear()
        self.broker.reconnect()
        for process in [one for one in self.processes if one.frozen]:
            self._thaw(process)
        self.plans = [self.plan]
        for process in [one for one in self.processes if one.plan is not self.plan]:
            process.stop()
        began = world.now
        self._until(lambda: self.check.drained() and self._all_running(), "everything is processed and committed")
        if self.rates is not None:
            self._until(lambda: not self._wrong_tables(), "global tables are what their topic says")
            self.problems += self._wrong_tables()
        if isinstance(self.check, TimedCheck):
            for number in self.check.rounds():
                if number < 4 and self.chance.random() < 0.4:
                    self.kill(self.chance.choice(self.processes))
                    self.start()
                self.check.let_time_pass(self.processes, number)
                self._go_on(TELLING_MS)
        self.healed = world.now - began
        if self.trouble.static and not self.problems:
            self._quiet()
        if self.problems:
            return
        stores = {id_: task.stores for one in self.processes for id_, task in one.tasks.items()}
        self.problems += self.check.results(stores)
        if self.rates is not None:
            self.problems += self.check.rated(self.rates.written())
        for process in self.processes:
            process.stop()
        self._until(lambda: not self.processes, "all processes stop", keep=False)

    def _go_on(self, ms: int) -> None:
        """Continue for some time, and then until everything is processed."""
        end = self.world.now + ms
        self._until(lambda: self.world.now > end and self.check.drained() and self._all_running(), "all is processed")

    def _wrong_tables(self) -> list[str]:
        assert self.rates is not None
        return self.rates.wrong(process.tables for process in self.processes)

    def _quiet(self) -> None:
        """Run without faults for a while: no process may lose its membership or its instance id."""
        self._go_on(PATIENCE_MS)  # by then the group has removed processes that were paused before the faults ended
        epochs = {process.name: process.membership.status.epoch for process in self.processes}
        end = self.world.now + QUIET_MS
        while self.world.now < end and not self.problems:
            self.world.turn()
            self._look_after()
        for process in self.processes:
            if process.membership.status.epoch != epochs.get(process.name):
                self.problems.append(f"{process.name} has lost its membership while nothing happened")

    def _all_running(self) -> bool:
        group = self.broker.group
        if group.state != "stable" or group.members.keys() != {process.member for process in self.processes}:
            return False  # a former owner does not know yet that other processes run its tasks
        running = [task for process in self.processes for task in process.tasks.values()]
        owned = {task.id for task in running if not task.dirty}
        return len(running) == len(self.plan.tasks()) == len(owned)

    def _until(self, reached: Callable[[], bool], what: str, *, keep: bool = True) -> None:
        end = self.world.now + HEALING_MS
        while not reached() and not self.problems:
            for _ in range(8):
                self.world.turn()
            self._look_after()
            if keep and not self.processes:
                self.start()
            if self.world.now > end:
                self.problems.append(f"{HEALING_MS // 1000} s after the end of all faults this is not true: {what}")


def run(seed: int) -> Run:
    """Run one schedule with logging disabled. Raises Violation."""
    log = logging.getLogger("tidemill")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        return Schedule(seed).run()
    finally:
        log.setLevel(level)
