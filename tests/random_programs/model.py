"""The expected results of some programs, computed without the engine, from all records at once."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import tidemill as tm
from tests.random_programs.check import Violation, cut, one_by_one
from tests.random_programs.program import Line, Program, Send
from tests.random_programs.vocabulary import plain, text
from tests.random_programs.world import World

__all__ = ["check_model", "modelled"]


class Entry(NamedTuple):
    key: Any
    value: Any
    timestamp: int


Rows = dict[Any, Any]
Shape = tuple[str, Callable[[list[Entry]], Rows]]
"""The steps behind the source, and the rows of the last one's store."""


def usable(entries: list[Entry]) -> list[Entry]:
    return [one for one in entries if one.value is not None and one.value != 13]


def folded(entries: list[Entry]) -> dict[Any, list[Entry]]:
    found: dict[Any, list[Entry]] = {}
    for one in entries:
        found.setdefault(one.key, []).append(one)
    return found


def fixed(size: int, advance: int) -> Callable[[list[Entry]], Rows]:
    def rows(entries: list[Entry]) -> Rows:
        found: dict[Any, list[Any]] = {}
        for one in usable(entries):
            for start in range(0, one.timestamp + 1, advance):
                if start <= one.timestamp < start + size:
                    found.setdefault(tm.Windowed(one.key, start, start + size), []).append(one.value)
        return found

    return rows


def sessions(gap: int) -> Callable[[list[Entry]], Rows]:
    def rows(entries: list[Entry]) -> Rows:
        found: Rows = {}
        for key, mine in folded(usable(entries)).items():
            run: list[Entry] = []
            for one in [*sorted(mine, key=lambda one: one.timestamp), None]:
                if run and (one is None or one.timestamp - run[-1].timestamp > gap):
                    found[tm.Windowed(key, run[0].timestamp, run[-1].timestamp)] = [each.value for each in run]
                    run = []
                if one is not None:
                    run.append(one)
        return found

    return rows


def lists(entries: list[Entry]) -> Rows:
    return {key: [one.value for one in mine] for key, mine in folded(usable(entries)).items()}


def newest(entries: list[Entry]) -> Rows:
    """An invalid row is no row."""
    rows = {one.key: one.value for one in entries}
    return {key: plain(value) for key, value in rows.items() if value not in (None, 13)}


def sums(entries: list[Entry]) -> Rows:
    """A group that has lost its last row stays, with the sum of none."""
    found: Rows = {group: 0 for one in usable(entries) if (group := text(plain(one.value))) is not None}
    for value in newest(entries).values():
        group = text(value)
        if group is not None:
            found[group] = found.get(group, 0) + value
    return found


FOLD = ".aggregate(list, collected, merge=joined)"
STREAMS: list[Shape] = [
    (".group_by_key().aggregate(list, collected)", lists),
    (f".group_by_key().window(tm.tumbling(10, grace=1000)){FOLD}", fixed(10, 10)),
    (f".group_by_key().window(tm.hopping(10, every=4, grace=1000)){FOLD}", fixed(10, 4)),
    (f".group_by_key().window(tm.session(gap=4, grace=1000)){FOLD}", sessions(4)),
]
TABLES: list[Shape] = [
    (".map(plain).left_join(s0, lambda row, _: row)", newest),
    (".group_by(text, key=tm.utf8).aggregate(0, summed, unsummed)", sums),
]


def modelled(seed: int) -> tuple[Program, Callable[[list[Entry]], Rows]]:
    """Return the program of a seed, and its expected results."""
    random = Random(f"model {seed}")
    of_table = random.random() < 0.3
    steps, rows = random.choice(TABLES if of_table else STREAMS)
    source = f'app.{"table" if of_table else "stream"}("a", key=tm.utf8, value=tm.json)'
    values = [*range(16), None] if of_table else range(16)
    events = tuple(
        Send("a", random.choice([b"k", b"l", b""]), value_of(random.choice(values)), random.randint(0, 60))
        for _ in range(random.randint(1, 20))
    )
    return Program((Line("s0", source), Line("s1", f's0{steps}.named("s1")')), events), rows


def value_of(value: int | None) -> bytes | None:
    return None if value is None else str(value).encode()


def check_model(program: Program, rows: Callable[[list[Entry]], Rows], seed: int) -> None:
    """Raises Violation."""
    entries = [
        Entry((one.key or b"").decode(), None if one.value is None else int(one.value), one.timestamp)
        for one in program.events
        if isinstance(one, Send)
    ]
    right = sorted(repr((key, in_order(value))) for key, value in rows(entries).items())
    for way in (one_by_one, cut):
        world = World(program.app())
        try:
            way(world, program, Random(seed))
            shown = [(key, in_order(value)) for key, value in world.items("s1")]
        finally:
            world.close()
        if sorted(map(repr, shown)) != right:
            raise Violation(program, "model", f"store s1:\n  model  {right}\n  engine {sorted(map(repr, shown))}")


def in_order(value: Any) -> Any:
    """In the order of values: that of merged sessions is not what is looked at."""
    return sorted(value) if isinstance(value, list) else value
