"""A quiet schedule for scenarios: nothing happens in it but what a test does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tidemill.engine.assignment.assignment import Policy

from .broker import Network
from .disk import Disk
from .driver import Schedule, Violation
from .process import Process, simulated
from .schedule import Trouble
from .world import Owner

__all__ = ["Stage", "stage"]


class Stage(Schedule):
    """A schedule in the hands of a test."""

    def new(self, disk: Disk | None = None) -> Process:
        """Starts a process, on this directory or on any."""
        self.start(disk)
        return self.processes[-1]

    def until(self, reached: Callable[[], bool], within: int, what: str) -> int:
        """Lets all go on until something is so. Returns how many ms it took. Raises Violation when it takes longer."""
        began = self.world.now
        while not reached():
            self.turn()
            if self.world.now - began > within:
                raise Violation(f"seed {self.seed}: after {within} ms it is not so that {what}")
        return self.world.now - began

    def go_on(self, ms: int) -> None:
        """Lets all go on for some time."""
        end = self.world.now + ms
        while self.world.now < end:
            self.turn()

    def settled(self, within: int = 2000) -> int:
        """Goes on until everything is processed and all tasks run. Returns how many ms it took."""
        return self.until(lambda: self.check.drained() and self._all_running(), within, "everything is processed")

    def check_that(self, so: bool, what: str) -> None:
        """Raises Violation."""
        if not so:
            raise Violation(f"seed {self.seed}: it is not so that {what}")

    def at(self, process: Process, place: str) -> None:
        """Lets all go on until the process is about to go on from a place."""
        met: list[str] = []

        def look(owner: Owner, what: str) -> None:
            if owner is process and what == place:
                met.append(what)

        self.world.at_pause = look
        self.until(lambda: bool(met), 5000, f"{process.name} comes to {place!r}")
        self.world.at_pause = None

    def dies(self, process: Process) -> None:
        """Is killed, and the group hears of it at once."""
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
def stage(
    seed: int,
    *,
    program: str = "one step",
    partitions: int = 2,
    settings: dict[str, Any] | None = None,
    static: bool = False,
) -> Iterator[Stage]:
    """A stage without processes. In the end all that is left goes on until everything is processed, and is checked."""
    made = Stage(seed, replace(quiet(program, partitions, settings or {}), static=static))
    with simulated(made.world):
        try:
            yield made
            made.heal()
        finally:
            for process in made.processes:
                process.kill()
    if made.problems:
        raise Violation(f"seed {seed}: " + "\n  ".join(made.problems))


def quiet(program: str, partitions: int, settings: dict[str, Any]) -> Trouble:
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
            "policy": Policy(small=1 << 20),
        },
    )
