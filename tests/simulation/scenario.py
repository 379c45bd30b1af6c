"""Scenarios: schedules without random faults, in which a test controls what happens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tidemill.engine.assignment.assignment import AssignmentPolicy

from .broker import Network
from .bucket import BucketFaults
from .disk import Disk
from .driver import Schedule, Violation
from .process import Process, simulated
from .schedule import Trouble
from .world import Owner

__all__ = ["Scenario", "scenario"]


class Scenario(Schedule):
    """A schedule that a test controls step by step."""

    def start_process(self, disk: Disk | None = None) -> Process:
        """Start a process, on this directory or on any."""
        self.start(disk)
        return self.processes[-1]

    def until(self, reached: Callable[[], bool], within: int, what: str) -> int:
        """Run until the condition is true, and return the time in ms. Raises Violation after `within` ms."""
        began = self.world.now
        while not reached():
            self.turn()
            if self.world.now - began > within:
                raise Violation(f"seed {self.seed}: after {within} ms this is not true: {what}")
        return self.world.now - began

    def run_for(self, ms: int) -> None:
        """Run for some time."""
        end = self.world.now + ms
        while self.world.now < end:
            self.turn()

    def until_processed(self, within: int = 2000) -> int:
        """Run until everything is processed and all tasks run, and return the time in ms."""
        return self.until(lambda: self.check.drained() and self._all_running(), within, "everything is processed")

    def check_that(self, so: bool, what: str) -> None:
        """Raise Violation unless the condition is true."""
        if not so:
            raise Violation(f"seed {self.seed}: this is not true: {what}")

    def run_to(self, process: Process, place: str) -> None:
        """Run until the process has reached a point, where it yields."""
        met: list[str] = []

        def look(owner: Owner, what: str) -> None:
            if owner is process and what == place:
                met.append(what)

        self.world.at_pause = look
        self.until(lambda: bool(met), 5000, f"{process.name} reaches {place!r}")
        self.world.at_pause = None

    def kill_and_remove(self, process: Process) -> None:
        """Kill the process, and remove it from the group at once."""
        member = process.member
        process.kill()
        self.processes.remove(process)
        self.remove(member)

    def turn(self) -> None:
        self.world.turn()
        self._look_after()
        if self.problems:
            raise Violation(f"seed {self.seed}: " + "\n  ".join(self.problems))


@contextlib.contextmanager
def scenario(
    seed: int,
    *,
    program: str = "one step",
    partitions: int = 2,
    settings: dict[str, Any] | None = None,
    static: bool = False,
    durability: str = "changelog",
    guarantee: str = "exactly_once",
) -> Iterator[Scenario]:
    """Create a scenario without processes. At its end, the remaining processes drain the input and are checked."""
    trouble = replace(without_faults(program, partitions, settings or {}), static=static, guarantee=guarantee)
    if durability == "snapshot":
        stored = {"durability": durability, "snapshots": "file:///bucket", "snapshot_interval": 40}
        trouble = replace(
            trouble, durability=durability, bucket=BucketFaults(), settings={**trouble.settings, **stored}
        )
    made = Scenario(seed, trouble)
    with simulated(made.world):
        try:
            yield made
            made.heal()
        finally:
            for process in made.processes:
                process.kill()
    if made.problems:
        raise Violation(f"seed {seed}: " + "\n  ".join(made.problems))


def without_faults(program: str, partitions: int, settings: dict[str, Any]) -> Trouble:
    return Trouble(
        program=program,
        partitions=partitions,
        guarantee="exactly_once",
        processes=0,
        most=3,
        records=0,
        keys=8,
        turns=0,
        chances={},
        hot={},
        network=Network(),
        failures=0.0,
        corrupts=0.0,
        settings={"commit_interval": 40, "idle": 0, "retry_timeout": 60_000, **settings},
        deletions_kept=24 * 60 * 60 * 1000,
        membership={
            "session_timeout": 10_000,
            "heartbeat_interval": 100,
            "rebalance_timeout": 3_000,
            "policy": AssignmentPolicy(small=1 << 20),
        },
    )
