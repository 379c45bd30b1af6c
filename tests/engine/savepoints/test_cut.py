"""Property test of savepoints: a consistent cut, even if processes die, pause and hand over tasks.

The model is an application of two sub-topologies: tasks of the first read an input and write to a repartition topic,
those of the second read that. A process commits its work at once. The decisions are the real ones; messages arrive at
once, but each process and each command may pause for any time between two steps.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

import pytest

from tests.support.examples import seeds
from tidemill.engine.savepoints.cut import (
    Broken,
    Complete,
    Incomplete,
    agreed,
    gathered,
    held,
    offsets_in,
    released,
    saved,
)
from tidemill.engine.savepoints.messages import Command, InputOffset, Report
from tidemill.engine.savepoints.participation import (
    SILENT_MS,
    Action,
    Participation,
    ParticipationPhase,
    Seen,
    decide,
    failed,
)

WIDTH = 3
TASKS = [f"{part}_{number}" for part in range(2) for number in range(WIDTH)]
HOLD_MS = 10_000


class World:
    """Kafka, the group, and the messages."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.now = 0
        self.input = Counter[str]()
        """How far each task of the first part has read its input."""
        self.written = Counter[str]()
        """The ends of the partitions of the repartition topic, by the task that reads each."""
        self.read = Counter[str]()
        self.fired = Counter[str]()
        """What each task of the first part has written without reading, by the wall clock."""
        self.linked: dict[str, dict[str, int]] = {}
        """What of that is in the linked state of each task, by attempt."""
        self.owner: dict[str, str] = {}
        self.version = Counter[str]()
        """Of the tasks of each process."""
        self.commands: dict[str, tuple[int, Command]] = {}
        self.reports: dict[str, dict[str, tuple[int, Report]]] = {}
        self.processes: dict[str, Process] = {}
        self.savepoints: list[Mapping[tuple[str, int], int]] = []
        self.longest = 0

    def tasks_of(self, process: str) -> list[str]:
        return sorted(task for task, owner in self.owner.items() if owner == process)

    def move(self, task: str, to: str) -> None:
        before = self.owner.get(task)
        if before is not None:
            self.version[before] += 1
        self.owner[task] = to
        self.version[to] += 1

    def work(self, task: str) -> None:
        if task.startswith("0"):
            (self.input if self.chance.random() < 0.2 else self.fired)[task] += 1
            self.written[f"1_{self.chance.randrange(WIDTH)}"] += 1
        elif self.read[task] < self.written[task]:
            self.read[task] += 1

    def offset(self, task: str) -> tuple[tuple[str, int], int]:
        part, _, number = task.partition("_")
        return (("in", "re")[int(part)], int(number)), (self.input if part == "0" else self.read)[task]

    def committed(self) -> dict[tuple[str, int], tuple[int, str]]:
        return {key: (at, "") for key, at in map(self.offset, TASKS)}


class Process:
    """A process: it may be dead, paused, or removed from the group without knowing it."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.state = Participation()
        self.hold_until: int | None = None
        self.held: int | None = None
        self.broken = ""
        self.number = -1
        self.known = world.version[name]
        """The version of its tasks that the process has seen."""
        self.mine = world.tasks_of(name)

    def notice(self) -> None:
        """See changes of its tasks; revoked ones are no longer run."""
        if self.known != self.world.version[self.name]:
            self.known, self.mine = self.world.version[self.name], self.world.tasks_of(self.name)
            if self.hold_until is not None:
                self.broken, self.hold_until, self.held = "changed", None, None

    def loop(self) -> None:
        """Run a turn of the task executor, which sees neither messages nor commands."""
        if self.hold_until is not None and self.world.now > self.hold_until:
            self.broken, self.hold_until, self.held = "too long", None, None
        if self.hold_until is None:
            for task in self.mine:
                if self.world.owner[task] == self.name:  # Kafka refuses the commits of others
                    self.world.work(task)
        elif self.held is None:
            self.held = self.world.now

    def status(self) -> Literal["none", "waiting", "held", "broken"]:
        if self.broken:
            return "broken"
        return "none" if self.hold_until is None else "waiting" if self.held is None else "held"

    def step(self) -> None:
        """Run one step of the thread."""
        seen = Seen(dict(self.world.commands), self.known, self.status(), self.broken, self.world.now)
        self.state, action = decide(self.name, self.state, seen)
        match action:
            case Action.TELL_READY:
                self.tell(Report(self.name, "ready", tasks=self.mine, planned=TASKS))
            case Action.HOLD:
                self.hold_until, self.held, self.broken = self.world.now + HOLD_MS, None, ""
            case Action.LINK:
                offsets = [InputOffset(*key, at) for key, at in map(self.world.offset, self.mine)]
                linked = self.world.linked.setdefault(self.state.attempt, {})
                linked.update({task: self.world.fired[task] for task in self.mine})
                self.tell(Report(self.name, "held", tasks=self.mine, offsets=offsets))
            case Action.CONFIRM:
                member = all(self.world.owner[task] == self.name for task in self.mine)
                kept = self.held is not None
                self.let_go()
                if member and kept:
                    self.tell(Report(self.name, "released"))
                else:
                    self.fail("not a member")
            case Action.SAVE:
                self.tell(Report(self.name, "done"))
            case Action.TELL_FAILED:
                self.fail(self.state.why)
            case Action.LET_GO:
                self.let_go()
            case Action.NOTHING:
                pass

    def let_go(self) -> None:
        if self.held is not None:
            self.world.longest = max(self.world.longest, self.world.now - self.held)
        self.hold_until, self.held, self.broken = None, None, ""

    def fail(self, why: str) -> None:
        self.let_go()
        if self.state.phase is not ParticipationPhase.IDLE:
            self.state = failed(self.state, why)
        self.tell(Report(self.name, "failed", why))

    def tell(self, report: Report) -> None:
        self.number += 1
        if self.state.attempt in self.world.reports:
            self.world.reports[self.state.attempt][self.name] = (self.number, report)
        self.state = replace(self.state, report=self.number)


def command(world: World, attempt: str) -> Iterator[None]:
    """The steps of a command, one attempt; between any two it may stand still, or be killed."""
    number = 0

    def tell(message: Command) -> None:
        nonlocal number
        number += 1
        world.commands[attempt] = (number, message)

    world.reports[attempt] = {}
    message = Command("gather")
    tell(message)
    yield
    while not isinstance(found := gathered(world.reports[attempt], set(world.processes)), Complete):
        tell(message)
        yield
    named = found.named
    message = Command("hold", named, HOLD_MS)
    tell(message)
    yield
    while not isinstance(now := held(named, world.reports[attempt]), Complete):
        if isinstance(now, Broken):
            return
        tell(message)
        yield
    offsets = offsets_in(named, world.reports[attempt])
    yield
    ends = {("re", number): world.written[f"1_{number}"] for number in range(WIDTH)}
    yield
    if isinstance(agreed(offsets, world.committed()), Broken):
        return
    message = Command("release", named)
    tell(message)
    yield
    for look in (released, saved):
        while not isinstance(now := look(named, world.reports[attempt]), Complete):
            if isinstance(now, Broken):
                return
            tell(message)
            yield
    check_cut(offsets, ends, sum(world.linked[attempt].values()))
    world.savepoints.append(offsets)


def check_cut(offsets: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int], fired: int) -> None:
    """What the readers have processed, and what is in flight, is what the writers have written up to their offsets.

    `fired` is what they have written by the wall clock, by their state.
    """
    assert offsets.keys() == {*ends, *(("in", number) for number in range(WIDTH))}
    written = sum(offsets["in", number] for number in range(WIDTH)) + fired
    assert sum(ends.values()) == written, "what is in flight is of another moment than the offsets"
    assert all(offsets[key] <= end for key, end in ends.items()), "a record was read that was not written"


def live(seed: int, *, faults: bool) -> World:
    chance = random.Random(seed)
    world = World(chance)
    names = [f"p{number}" for number in range(3)]
    for place, task in enumerate(TASKS):
        world.move(task, names[place % 3])
    world.processes = {name: Process(world, name) for name in names}
    for process in world.processes.values():
        process.notice()
    zombies: list[Process] = []
    commands: dict[str, Iterator[None]] = {}
    born = 0
    for turn in range(2_500):
        if turn % 200 == 0:
            commands[f"{turn:06d}"] = command(world, f"{turn:06d}")
        still = chance.choice([None, *world.processes]) if faults else None
        for name, process in list(world.processes.items()):
            if name != still:
                process.notice()
                process.loop()
                process.step()
        for zombie in zombies:
            if chance.random() < 0.5:
                zombie.loop()
                zombie.step()
        for attempt in list(commands):
            if chance.random() < 0.7:
                try:
                    next(commands[attempt])
                except StopIteration:
                    del commands[attempt]
                    world.commands.pop(attempt, None)
                    world.reports.pop(attempt, None)
        world.now += chance.choice([50, 100, 300])
        holding = [name for name, process in world.processes.items() if process.held is not None]
        if faults and holding and chance.random() < 0.15:  # a process pauses, and a new one gets its tasks
            gone = world.processes.pop(chance.choice(holding))
            born += 1
            new = world.processes[f"n{born}"] = Process(world, f"n{born}")
            for task in gone.mine:
                if world.owner[task] == gone.name:
                    world.move(task, new.name)
            zombies.append(gone)
        if not faults or chance.random() > 0.02:
            continue
        match chance.randrange(4):
            case 0:  # a task is handed over
                world.move(chance.choice(TASKS), chance.choice(list(world.processes)))
            case 1 if len(world.processes) > 1:  # a process is removed from the group; it may be alive
                name = chance.choice(list(world.processes))
                gone = world.processes.pop(name)
                gone.mine = world.tasks_of(name)
                for task in gone.mine:
                    world.move(task, chance.choice(list(world.processes)))
                if chance.random() < 0.7:
                    zombies.append(gone)
            case 2:  # a process joins
                born += 1
                name = f"n{born}"
                world.processes[name] = Process(world, name)
                world.move(chance.choice(TASKS), name)
            case _ if commands:  # a command is killed; later its messages are removed
                attempt = chance.choice(list(commands))
                del commands[attempt]
                if chance.random() < 0.5:
                    world.now += SILENT_MS
                    world.commands.pop(attempt, None)
                    world.reports.pop(attempt, None)
    return world


@pytest.mark.parametrize("seed", range(5))
def test_without_faults_each_command_makes_its_savepoint(seed: int) -> None:
    world = live(seed, faults=False)
    assert len(world.savepoints) >= 11
    assert world.longest < 2_000


@pytest.mark.parametrize("seed", seeds(20, fast=5))
def test_every_savepoint_is_a_consistent_cut(seed: int) -> None:
    world = live(seed, faults=True)
    assert world.longest <= HOLD_MS + 2 * SILENT_MS
    assert world.savepoints


def report(process: str, phase: str = "ready", **more: object) -> tuple[int, Report]:
    return 4, Report(process, phase, **{"planned": TASKS, **more})  # type: ignore[arg-type]


def test_each_task_has_to_run_once_in_a_process_that_has_answered() -> None:
    all_here = {"a": report("a", tasks=TASKS[:3]), "b": report("b", tasks=TASKS[3:]), "idle": report("idle", tasks=[])}
    assert gathered(all_here, {"a", "b", "idle"}) == Complete({"a": 4, "b": 4})
    assert isinstance(gathered(all_here, {"b", "idle"}), Incomplete)
    assert isinstance(gathered({**all_here, "c": report("c", tasks=TASKS[:1])}, {"a", "b", "c"}), Incomplete)
    other = {**all_here, "b": report("b", tasks=TASKS[3:], planned=[*TASKS, "2_0"])}
    assert gathered(other, {"a", "b"}) == Incomplete(
        "the processes run different versions of the program, or see different partitions of topics"
    )
    assert isinstance(gathered({}, {"a"}), Incomplete)


def test_a_failure_is_that_of_its_process() -> None:
    reports = {"abcdefghij": report("abcdefghij", "failed", why="the disk is full"), "b": report("b", "held")}
    assert held({"abcdefghij": 1, "b": 1}, reports) == Broken("process abcdefgh: the disk is full")
    assert held({"b": 1}, reports) == Complete({"b": 4})
    assert held({"b": 1, "c": 1}, reports) == Incomplete("waiting for process c to hold their tasks")


def test_offsets_that_the_group_has_not_committed_are_no_cut() -> None:
    assert agreed({("t", 0): 5}, {("t", 0): (5, ""), ("other", 0): (9, "")}) == Complete({})
    assert isinstance(agreed({("t", 0): 5}, {("t", 0): (6, "")}), Broken)
    assert isinstance(agreed({("t", 0): 5}, {}), Broken)
