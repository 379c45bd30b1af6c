"""Sales that a program writes to a target, and what befalls it: kills, a pause in which it is replaced, an outage."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest

from tests.brokers import client

from .eos.deaths import Death, Ordeal
from .eos.feed import Feed
from .fleet import generations
from .program import Life, Program
from .sales import Sales
from .stage import Stage

__all__ = ["MINUTE", "SinkTrial", "deaths_of_servers"]

PARTITIONS = 2
MINUTE = 60_000
PLACES = ("before-target-write", "during-target-write", "after-target-write", "after-send-offsets", "inside-rebalance")


def deaths_of_servers(chance: random.Random, count: int) -> list[Death]:
    """Return deaths for a program that writes to a server: two thirds at the failpoints of a write."""
    deaths = [
        Death(place, nth=1 if place == "inside-rebalance" else chance.choice((1, 2, 5)))
        for place in (PLACES * count)[: count * 2 // 3]
    ]
    return deaths + [Death(working=True, after=chance.uniform(0, 1.2)) for _ in range(count - len(deaths))]


class SinkTrial(ABC):
    """The program and its input; a subclass knows the target."""

    module: ClassVar[str]
    """The program, in `programs/`."""

    def __init__(self, stage: Stage, **settings: object) -> None:
        self.stage = stage
        self.settings = {"commit_interval": "200ms", **settings}
        stage.topics("sales", partitions=PARTITIONS)
        self.sales = Sales(1)

    @property
    @abstractmethod
    def variables(self) -> dict[str, str]:
        """The environment of the program, which says where the target is."""

    @abstractmethod
    def written(self) -> int:
        """Return how many sales are in the target."""

    @abstractmethod
    def finish(self, lives: Sequence[Life]) -> None:
        """Wait until everything is written, stop the programs, and compare with a batch."""

    def program(self, name: str = "", variables: dict[str, str] | None = None, **more: object) -> Program:
        name = name or self.module.removesuffix(".py")
        settings = {**self.settings, "state_dir": self.stage.directory / name / "state", **more}
        environment = {**self.variables, **(variables or {})}
        return self.stage.program(self.module, variables=environment, name=name, **settings)

    def feed(self, rate: int = 300) -> Feed:
        return Feed(self.stage.broker, self.stage.name("sales"), rate=rate, records=self.sales)

    def survive(
        self, deaths: list[Death], seed: int, chance: random.Random, capsys: pytest.CaptureFixture[str], what: str = ""
    ) -> None:
        """Let the program die these deaths, in any order, and finish."""
        program = self.program()
        ordeal = Ordeal(program, works='"replayed":')
        chance.shuffle(deaths)
        began = time.monotonic()
        with self.feed():
            ordeal.run(deaths)
        self.finish([program.start()])
        kills, seconds = sum(ordeal.died.values()), time.monotonic() - began
        with capsys.disabled():
            print(f"\n{what}seed {seed}: {kills} kills, {self.sales.made} sales, {seconds:.0f} s, {dict(ordeal.died)}")

    def replace_while_paused(self, place: str) -> None:
        """Stop the program at its fourth visit of a failpoint, let another one go on, resume it, and finish."""
        stopping = self.program("stopping", failpoint=f"{place}:4=stop")
        other = self.program("other")
        with self.feed():
            stopped = stopping.start()
            client.wait_for(stopped.stands_still, 60, "it to stop itself")
            before = self.written()
            life = other.start()
            client.wait_for(lambda: self.written() > before + 300, 60, "the other to go on")
            stopped.child.resume()
            stopped.wait_for("membership lost|giving up this membership", 60)
            client.wait_for(lambda: len(generations(stopped)) > 1, 60, "it to come back")
        self.finish([life, stopped])

    def stall_sinks_only(self, take_away: Callable[[], object], bring_back: Callable[[], object], away: float) -> None:
        """Take the server away for some seconds, during which other tasks go on, and finish."""
        life = self.program().start()
        with self.feed():
            client.wait_for(lambda: self.written() > 100, 60, "rows")
            take_away()
            life.wait_for("the target is unavailable", 30)
            time.sleep(away)
            ends = client.end_offsets(self.stage.broker, self.stage.name("sales"))
            read = self.stage.committed("sales")
            assert sum(ends.values()) - sum(read.values()) < 1500, "other tasks of the process did not run"
            bring_back()
            life.wait_for("available again", 30)
        self.finish([life])
        assert "membership lost" not in life.log
