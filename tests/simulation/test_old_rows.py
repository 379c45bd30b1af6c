"""Simulation of versions of a program that add and remove stores: none begins with rows that miss some input.

A model says which rows each store has to hold. Versions follow each other in random order, processes die anywhere and
start on any disk, and standbys copy changelogs. A start is refused exactly if a changelog has rows, and versions
without the store have processed input of the partition since; then the message is followed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache

import pytest

import tidemill as tm
from tests.support.examples import seeds
from tidemill.engine.cli.reset import one_topic
from tidemill.engine.ids import TaskId
from tidemill.engine.plan.plan import Plan, partition, plan
from tidemill.engine.restore.opening import Ready
from tidemill.state.store import unframe
from tidemill.state.topic_partition import TopicPartition

from .driver import Violation
from .log import Entry
from .process import Process
from .programs import APP, Ids, seen, seen_again, stream
from .scenario import Scenario, scenario

PARTITIONS = 2
INPUTS = ("in", "more")
OPTIONAL = ("extra", "kept")
SEEDS = seeds(30, fast=4)
Rows = dict[str, Ids]


class Keeping(tm.Processor[str, int, Ids]):
    """Keep a list per key in the state of a processor."""

    kept = tm.ValueState(list[int], default=[], name="kept")

    def process(self, value: int, ctx: tm.Context[str]) -> Iterator[Ids]:
        so_far = self.kept.get()
        self.kept.set(so_far if value in so_far else [*so_far, value])
        yield self.kept.get()


@cache
def version(stores: frozenset[str], guarantee: str) -> Plan:
    """Return the plan of the program with some of the optional stores."""
    app = tm.App(APP)
    add = seen_again if guarantee == "exactly_once" else seen
    source = stream(app, "in")
    if guarantee == "exactly_once":
        source = source.merge(stream(app, "more"))
    source.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")
    if "extra" in stores:
        source.group_by_key().aggregate(list[int], add, value=tm.json).named("extra")
    if "kept" in stores:
        source.process(Keeping).named("keep")
    return plan(partition(app.topology()), APP, dict.fromkeys(INPUTS, PARTITIONS), {})


class Versions:
    """Versions that follow each other, and the model of their stores."""

    def __init__(self, run: Scenario, guarantee: str) -> None:
        self.run = run
        self.chance = run.chance
        self.guarantee = guarantee
        self.stores: frozenset[str] = frozenset()
        self.begun = {(topic, p): 0 for topic in INPUTS for p in range(PARTITIONS)}
        """Up to where the model has counted the input."""
        self.rows: dict[tuple[str, int], Rows] = {(name, p): {} for name in OPTIONAL for p in range(PARTITIONS)}
        self.old: set[tuple[str, int]] = set()
        """Stores whose rows miss input."""
        self.met: Counter[str] = Counter()
        for name in OPTIONAL:
            run.broker.create(f"{APP}-{name}-changelog", PARTITIONS)

    def count(self, number: int, ends: Mapping[TopicPartition, int]) -> None:
        """Add the input of a partition up to offsets, which the present version has processed."""
        entries: list[Entry] = []
        for key in ((topic, number) for topic in INPUTS if topic in self.run.broker.topics):
            end = ends.get(key, 0)
            entries += self.run.broker.partition(key).read(self.begun[key], end, committed=True)
            self.begun[key] = max(end, self.begun[key])
        for name in OPTIONAL:
            rows = self.rows[name, number]
            if name not in self.stores:
                if rows and entries:
                    self.old.add((name, number))
                continue
            for entry in entries:
                rows.setdefault(tm.utf8.decode(entry.key or b""), []).append(tm.int64.decode(entry.value or b""))

    def start(self, stores: frozenset[str]) -> None:
        """Replace all processes by those of another version, on any disks; follow the message if it is refused."""
        former = self.stores
        opened: set[int] = set()

        def ready(_process: Process, task: Ready) -> None:
            number = task.task.partition
            if number not in opened:
                opened.add(number)
                now, self.stores = self.stores, former
                self.count(number, task.offsets)
                self.stores = now

        self.stores = stores
        self.run.plans = [version(stores, self.guarantee)]
        for _ in range(self.chance.randint(1, 2)):
            self.run.start_process().at_ready = ready
        try:
            self.run.until(lambda: len(opened) == PARTITIONS, 20_000, "all tasks are open")
        except Violation as violation:
            said = str(violation)
            self.follow(said, former, opened)
            return
        wrong = sorted((name, number) for name, number in self.old if name in stores)
        self.run.check_that(not wrong, f"{wrong} begin with old rows")

    def follow(self, said: str, former: frozenset[str], opened: set[int]) -> None:
        """Do what the message says, and start again."""
        found = re.search(r"store '(\w+)' of task 0_(\d) would begin with old rows.* has (\d+) records", said)
        assert found is not None, said
        name, number = found[1], int(found[2])
        topic = f"{APP}-{name}-changelog"
        while self.run.processes:
            self.run.problems.clear()
            for process in list(self.run.processes):
                self.run.kill_and_remove(process)
        self.run.problems.clear()
        stores, self.stores = self.stores, former
        for other in set(range(PARTITIONS)) - opened:
            self.count(other, self.committed)
        self.stores = stores
        assert (name, number) in self.old, f"false alarm: {said}; {self.rows[name, number]}"
        empty = self.chance.random() < 0.5
        commands = re.findall(r"`tidemill reset sim --topic (\S+?)( --empty)?`", said)
        assert commands == [(topic, " --empty"), (topic, "")]
        offsets = self.run.broker.group.offsets
        self.run.run_for(500)  # until transactions are resolved
        changed = one_topic(APP, topic, dict(offsets), {}, "")
        assert changed
        offsets.update(changed)
        for other in opened:
            self.count(other, self.committed)
        if empty:
            self.run.broker.create(topic, PARTITIONS)
        for other in range(PARTITIONS):
            self.old.discard((name, other))
            if empty:
                self.rows[name, other] = {}
        self.met["empty" if empty else "taken"] += 1
        self.start(stores)

    @property
    def committed(self) -> dict[TopicPartition, int]:
        return {key: at for key, (at, _) in self.run.broker.group.offsets.items()}

    def check(self) -> None:
        """Compare the stores of running tasks with the model, when all input is processed."""
        self.run.until_processed(20_000)
        tasks = {id_: task for process in self.run.processes for id_, task in process.tasks.items()}
        for number in range(PARTITIONS):
            self.count(number, self.committed)
            task = tasks[TaskId(0, number)]
            for state in (one for one in task.subtopology.stores if one.spec.name in self.stores):
                rows = task.stores["rocksdb"].scan(state.spec.name, b"", None)
                dumped = (
                    state.view.dumped(state.codec.decode_key(key), state.codec.decode_value(unframe(value)))
                    for key, value in rows
                )
                found = {row.key: sorted(row.value) for more in dumped for row in more}
                expected = {key: sorted(ones) for key, ones in self.rows[state.spec.name, number].items()}
                self.run.check_that(found == expected, f"{state.spec.name} of {number} is {found}, not {expected}")

    def end(self) -> None:
        """Let all processes end: some stop, some die."""
        for process in list(self.run.processes):
            if self.chance.random() < 0.5:
                process.stop()
            else:
                self.run.kill_and_remove(process)
        self.run.until(lambda: not self.run.processes, 10_000, "all have ended")


@pytest.mark.parametrize("guarantee", ["exactly_once", "at_least_once"])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_version_begins_with_old_rows(seed: int, guarantee: str) -> None:
    program = "merged" if guarantee == "exactly_once" else "one step"
    settings = {"standbys": seed % 2}
    with scenario(seed, program=program, partitions=PARTITIONS, guarantee=guarantee, settings=settings) as run:
        versions = Versions(run, guarantee)
        for _ in range(run.chance.randint(3, 8)):
            versions.start(frozenset(name for name in OPTIONAL if run.chance.random() < 0.6))
            for _ in range(run.chance.choice((0, 0, 1, 5, 20))):
                run.feed()
            if run.chance.random() < 0.5:
                versions.check()
            else:
                run.run_for(run.chance.randint(0, 200))
            versions.end()
