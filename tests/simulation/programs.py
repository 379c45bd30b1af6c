"""Programs to simulate. Each collects, per key, the list of the input records it has processed.

A list shows what a count hides: which record is missing, which is duplicated, and the order. Every output is the list
after one input, so the outputs of a key are prefixes of each other, each one record longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import tidemill as tm
from tidemill.engine.plan.plan import Plan, partition, plan

from .timed import TIMED, Result

__all__ = ["APP", "FORMERS", "LOOKING_UP", "PROGRAMS", "SESSIONS", "Program", "planned"]

APP: Final = "sim"
SESSIONS: Final = "sessions"
LOOKING_UP: Final = "looking up"
Ids = list[int]


@dataclass(frozen=True)
class Step:
    """A keyed step: its input topic, its store, its output topic, and the function that computes the key."""

    reads: tuple[str, ...]
    store: str
    writes: str
    key: Callable[[str, int], str]
    most: int = 0
    """The length at which a list is deleted; 0 if it never is."""
    gap: int = 0
    """The gap between sessions, if there is a list per key and session; 0 if there is one per key."""


@dataclass(frozen=True)
class Program:
    """A program, and what the checks need to know of it."""

    name: str
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    build: Callable[[tm.App, Callable[[Ids, int], Ids]], None]
    beats: str = ""
    """The topic of a step that counts by the wall clock, if there is one: 1, 2, 3 and so on per key."""

    echo: str = ""
    """The topic of a step that echoes each input record, if there is one. Then Kafka refuses the records of
    `refused_echo` and `refused_state`, and the policy is to skip them."""

    rated: str = ""
    """The topic of a step that looks each input record up in a global table, if there is one."""

    results: tuple[Result, ...] = ()
    """The expected results, if they depend on event time; they are checked in `timed_check.py`."""

    @property
    def topics(self) -> tuple[str, ...]:
        """All input and output topics, without internal topics."""
        writes = (*(step.writes for step in self.steps), *(result.topic for result in self.results))
        return (*self.inputs, *writes, *filter(None, (self.beats, self.echo, self.rated)))


def seen_again(so_far: Ids, one: int) -> Ids:
    """Append a record even if it was seen before: for exactly-once, so that a duplicate shows."""
    return [*so_far, one]


def seen(so_far: Ids, one: int) -> Ids:
    """Append a record unless it was seen before: for at-least-once, where duplicates are allowed."""
    return so_far if one in so_far else [*so_far, one]


def stream(app: tm.App, topic: str) -> tm.Stream[str, int]:
    return app.stream(topic, key=tm.utf8, value=tm.int64)


def same(key: str, _one: int) -> str:
    return key


def third(one: int) -> str:
    return f"r{one % 3}"


def one_step(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    stream(app, "in").group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")


def in_memory(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    stream(app, "in").group_by_key().aggregate(list[int], add, value=tm.json).named("seen").in_memory().to("out")


def two_steps(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    source = stream(app, "in")
    source.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")
    regrouped = source.group_by(third, key=tm.utf8).named("again")
    regrouped.aggregate(list[int], add, value=tm.json).named("all").to("out-again", key=tm.utf8)


def labour() -> None:
    """Take time, as a slow user function; the simulation replaces this and determines how long."""


def with_labour(one: int) -> int:
    labour()
    return one


def slow(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    source = stream(app, "in").map(with_labour)
    source.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")


def merged(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    both = stream(app, "in").merge(stream(app, "more"))
    both.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")


def above(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    """As `merged`, but in an order that names the sub-topology after the other topic."""
    both = stream(app, "more").merge(stream(app, "in"))
    both.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")


class Beat(tm.Processor[str, int, tm.Record[str, int]]):
    """Count per key by the wall clock: work that is not caused by an input record."""

    count = tm.ValueState(int, default=0, name="count")

    def process(self, value: int, ctx: tm.Context[str]) -> None:
        self.count.set(self.count.get())

    @tm.every("60ms", clock="wall")
    def beat(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, int]]:
        for key, count in list(self.count.scan()):
            ctx.use(key)
            self.count.set(count + 1)
            yield tm.Record(key, count + 1, ctx.timestamp)


class Forgetful(tm.Processor[str, int, Ids]):
    """Delete the list of a key when it is full."""

    kept = tm.ValueState(list[int], default=[], name="kept")

    def process(self, value: int, ctx: tm.Context[str]) -> Iterator[Ids]:
        so_far = [*self.kept.get(), value]
        if len(so_far) < FULL:
            self.kept.set(so_far)
        else:
            self.kept.clear()
        yield so_far


def forgetting(app: tm.App, _add: Callable[[Ids, int], Ids]) -> None:
    stream(app, "in").process(Forgetful).named("forget").to("out", key=tm.utf8, value=tm.json)


def ticking(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    source = stream(app, "in")
    source.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")
    source.process(Beat).named("beat").to("beats", key=tm.utf8, value=tm.int64)


def refused_echo(one: int) -> bool:
    """Return whether Kafka refuses a record as output."""
    return one % 5 == 3


def refused_state(one: int) -> bool:
    """Return whether Kafka refuses state that contains a record."""
    return one % 7 == 4


def refusing(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    source = stream(app, "in")
    source.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")
    source.to("echo", key=tm.utf8, value=tm.int64)


GAP = 30
"""The gap between two sessions of a key, in ms."""


def sessions(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    windows = stream(app, "in").group_by_key().window(tm.session(gap=f"{GAP}ms", grace="1d"))
    made = windows.aggregate(list[int], add, merge=lambda one, other: sorted({*one, *other}), value=tm.json)
    made.named("seen").to("out")


def looking_up(app: tm.App, add: Callable[[Ids, int], Ids]) -> None:
    source = stream(app, "in")
    source.group_by_key().aggregate(list[int], add, value=tm.json).named("seen").to("out")
    rates = app.global_table("rates", key=tm.utf8, value=tm.int64, name="rates")
    both = source.join(rates, lambda one, rate: [one, rate], how="left")
    both.to("rated", key=tm.utf8, value=tm.json)


FULL: Final = 2
SEEN = Step(("in",), "seen", "out", same)
PROGRAMS: Final = {
    program.name: program
    for program in (
        Program("one step", ("in",), (SEEN,), one_step),
        Program("in memory", ("in",), (SEEN,), in_memory),
        Program("slow", ("in",), (SEEN,), slow),
        Program(
            "two steps",
            ("in",),
            (SEEN, Step((f"{APP}-again-repartition",), "all", "out-again", lambda _key, one: third(one))),
            two_steps,
        ),
        Program("forgetting", ("in",), (Step(("in",), "kept", "out", same, FULL),), forgetting),
        Program("ticking", ("in",), (SEEN,), ticking, beats="beats"),
        Program(SESSIONS, ("in",), (Step(("in",), "seen", "out", same, gap=GAP),), sessions),
        Program(LOOKING_UP, ("in",), (SEEN,), looking_up, rated="rated"),
        Program("refusing", ("in",), (SEEN,), refusing, echo="echo"),
        Program("merged", ("in", "more"), (Step(("in", "more"), "seen", "out", same),), merged),
        *(Program(name, ("in", "more"), (), build, results=results) for name, (build, results) in TIMED.items()),
    )
}

ABOVE: Final = Program("above", ("more", "in"), (Step(("more", "in"), "seen", "out", same),), above)
FORMERS: Final = {
    "one step": (ABOVE, PROGRAMS["two steps"]),
    "two steps": (ABOVE, PROGRAMS["one step"]),
    "merged": (ABOVE, PROGRAMS["one step"]),
}
"""Earlier versions of programs: topics and steps were added and removed, and stores moved to other sub-topologies."""


@cache
def planned(name: str, partitions: int, guarantee: str, durability: str = "changelog") -> Plan:
    """Return the plan of a program whose topics have this number of partitions."""
    program = ABOVE if name == ABOVE.name else PROGRAMS[name]
    app = tm.App(APP)
    program.build(app, seen_again if guarantee == "exactly_once" else seen)
    topology = app.topology()
    tables = ["rates"] if program.rated else []
    counts = dict.fromkeys([*program.inputs, *tables, *(step.writes for step in program.steps)], partitions)
    return plan(partition(topology), APP, counts, {}, changelogs=durability == "changelog")


def encoded(one: int) -> bytes:
    """Encode the value of an input record."""
    return tm.int64.encode(one)


def decoded(value: bytes) -> Any:
    """Decode a stored or written list."""
    return tm.json.decode(value)
