"""A trial: applications process continuous input, are killed many times, and are verified at the end.

All applications read the same input, and a thread kills each of them repeatedly. The last life of each must catch up,
and is stopped while it is processing; then the results are verified.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from tests.brokers import client
from tests.brokers.process import tail
from tests.brokers.transactions import open_transactions
from tests.integration.program import Life
from tests.integration.stage import Stage

from . import check, disk, feed, read
from .applications import INPUT, PARTITIONS, Application
from .check import Replay
from .deaths import Death, Ordeal

WORKS = '"replayed":'
"""The log line of a task that is ready to run."""


class Trial:
    """An application with a processing guarantee, and the verification of its results."""

    def __init__(self, stage: Stage, application: Application, *, guarantee: str, **settings: Any) -> None:
        self.stage = stage
        self.application = application
        self.guarantee = guarantee
        self.durability = str(settings.get("durability", stage.durability))
        self.group = f"{stage.app_id}-{application.module.removesuffix('.py').replace('_', '-')}"
        self.program = stage.program(application.module, app_id=self.group, guarantee=guarantee, **settings)
        self.ordeal = Ordeal(self.program, WORKS)
        stage.topics(*application.outputs, partitions=PARTITIONS)

    def suffer(self, deaths: Sequence[Death]) -> None:
        """Run a first life with a clean stop, then the deaths, then a last life that catches up and stops cleanly."""
        for ordeal in ((), deaths, ()):
            self.ordeal.run(ordeal)
            life = self.start()
            self.catch_up(life)
            self.stop(life)

    def start(self) -> Life:
        """Start the program, and wait until a task runs."""
        life = self.program.start()
        life.wait_for(WORKS)
        return life

    def catch_up(self, life: Life, timeout: float = 150.0) -> None:
        """Wait until everything is committed that was in the input at the time of the call.

        At least once, what is in repartition topics by then must be committed too: an earlier life may have written its
        results without committing them, and the last result per key is compared with the stores.
        """
        self._commits(life, self.stage.name(INPUT), timeout)
        if self.guarantee == "at_least_once":
            for topic in self.stage.internal():
                if topic.startswith(self.group) and topic.endswith("-repartition"):
                    self._commits(life, topic, timeout)

    def _commits(self, life: Life, topic: str, timeout: float) -> None:
        goal = client.wait_for(lambda: client.end_offsets(self.stage.broker, topic), timeout, f"the end of {topic}")

        def caught_up() -> bool:
            assert life.alive(), f"life {life.number} ended by itself:\n{tail(life.child.log, 60)}"
            done = client.committed_offsets(self.stage.broker, self.group, topic)
            return all(done[number] >= end for number, end in goal.items())

        what = f"life {life.number} of {self.group} to catch up with topic {topic}"
        client.wait_for(caught_up, timeout, what)

    @staticmethod
    def stop(life: Life) -> None:
        """Stop the program, and check that it ends cleanly."""
        code = life.stop()
        assert code == 0, f"life {life.number} was asked to stop and ended with {code}:\n{tail(life.child.log, 60)}"

    def judge(self) -> tuple[list[str], str]:
        """Return the violations in outputs, transactions, stores and changelogs, and the figures as text."""
        done = self.done()
        repeated = 0
        if self.guarantee == "exactly_once":
            findings = self.application.exactly_once(self.stage, self.group, done)
        else:
            findings, repeated = self.application.at_least_once(self.stage, self.group, done)
        findings = [*findings, *self.unfinished(), *self.state(done, repeats=self.guarantee != "exactly_once")]
        figures = f"{self.application.module}, {self.guarantee}: {len(done)} records committed"
        return findings, figures + (f", {repeated} outputs repeated" if repeated else "")

    def replays(self) -> list[Replay]:
        """Return the replays of each start, by task."""
        lives = self.program.lives
        ends = [life.started for life in lives[1:]] + [math.inf]
        return [
            Replay(life.number, event["task"], event["replayed"], event["changelog"], end - moment(event["time"]))
            for life, end in zip(lives, ends, strict=True)
            for event in life.events()
            if "replayed" in event
        ]

    def downloads(self) -> int:
        """Return how often a task was restored from a snapshot."""
        events = [event for life in self.program.lives for event in life.events()]
        return sum("restoring from snapshot" in str(event.get("message")) for event in events)

    def done(self) -> list[check.Row]:
        """Return the input up to the committed offsets."""
        rows = read.rows(self.stage.broker, self.stage.name(INPUT), bytes.decode, feed.decode)
        committed = client.committed_offsets(self.stage.broker, self.group, self.stage.name(INPUT))
        return check.up_to(rows, committed)

    def state(self, done: list[check.Row], *, repeats: bool) -> list[str]:
        """Compare stores on disk and changelogs with the expected contents."""
        findings: list[str] = []
        for name, expected in self.application.stores(self.stage, done, repeats=repeats).items():
            on_disk = disk.content(self.program.directory / "state" / self.group, name)
            findings += check.same_content(f"store {name!r} on disk", expected, on_disk)
            if self.durability == "snapshot":
                continue
            changelog = client.changelog(self.stage.broker, f"{self.group}-{name}-changelog")
            logged = {
                disk.key(raw): disk.value(stored) for entries in changelog.values() for raw, stored in entries.items()
            }
            findings += check.same_content(f"changelog of store {name!r}", expected, logged)
        if self.durability == "snapshot":
            findings += [f"there is {name}" for name in self.stage.internal() if name.endswith("-changelog")]
        return findings

    def unfinished(self) -> list[str]:
        """Return open transactions of the application, according to its topics and to the coordinator."""
        mine = [*map(self.stage.name, self.application.outputs), *self.stage.internal()]
        listed = [one for one in open_transactions(self.stage.broker) if one.transactional_id.startswith(self.group)]
        return [
            *check.no_open_transaction(read.open_spans(self.stage.broker, mine)),
            *(f"the coordinator lists an open transaction: {transaction}" for transaction in listed),
        ]


def source(stage: Stage, seed: int, rate: int = 1000) -> feed.Feed:
    """Return the input of a stage."""
    return feed.Feed(stage.broker, stage.name(INPUT), rate=rate, seed=seed, keys=2000)


def endure(trials: Sequence[Trial], plans: Sequence[Sequence[Death]], seed: int) -> float:
    """Run trials in parallel on one feed, and return the seconds it took."""
    began = time.monotonic()
    with (
        source(trials[0].stage, seed),
        ThreadPoolExecutor(len(trials)) as pool,
    ):
        for outcome in [pool.submit(trial.suffer, plan) for trial, plan in zip(trials, plans, strict=True)]:
            outcome.result()
    return time.monotonic() - began


def seeded() -> tuple[int, random.Random]:
    """Return a seed to print, and its random generator."""
    seed = random.SystemRandom().getrandbits(32)
    return seed, random.Random(seed)


def moment(time: str) -> float:
    """Return the time of a log line, in seconds since 1970."""
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def replay_figures(replays: Sequence[Replay]) -> str:
    """Return the figures of replays, in one line."""
    some = [replay for replay in replays if replay.replayed]
    if not some:
        return "no restart replayed anything"
    most = max(some, key=lambda replay: replay.replayed)
    mean = sum(replay.replayed for replay in some) / len(some)
    return (
        f"{len(some)} of {len(replays)} openings of a task replayed something: {mean:.0f} records in the mean, "
        f"{most.replayed} of {most.length} at most (life {most.life}); "
        f"together {check.replayed_share(replays):.1%} of what whole changelogs would have been"
    )
