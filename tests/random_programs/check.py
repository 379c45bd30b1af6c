"""Run a program in different ways that must all have the same results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.random_programs import vocabulary
from tests.random_programs.program import Advance, Event, Program, Send
from tests.random_programs.world import World, visible
from tidemill.operators.joins import foreign_key_steps, steps

__all__ = ["WAYS", "Violation", "check", "differences", "run"]


class Violation(Exception):
    """A program has different results in two ways."""

    def __init__(self, program: Program, way: str, what: str) -> None:
        super().__init__(f"{way}: {what}")
        self.program = program
        self.way = way
        self.what = what


class Outcome(NamedTuple):
    outputs: dict[Any, list[Any]]
    stores: dict[str, list[str]]
    drops: dict[Any, int] | None


def outcome(world: World, *, drops: bool) -> Outcome:
    outputs = {(topic, str(task)): visible(rows) for (topic, task), rows in sorted(world.outputs.items(), key=str)}
    return Outcome(
        {name: rows for name, rows in outputs.items() if rows}, world.stores(), world.drops() if drops else None
    )


def deliver(world: World, events: list[Event]) -> None:
    """Consecutive records of a topic arrive as one batch."""
    rows: list[Any] = []
    for at, event in enumerate(events):
        if isinstance(event, Advance):
            world.advance(event.ms)
            continue
        rows.append((event.key, event.value, event.timestamp, None, -1))
        following = events[at + 1] if at + 1 < len(events) else None
        if not isinstance(following, Send) or following.topic != event.topic:
            world.send(event.topic, rows)
            rows = []


def pieces(program: Program, random: Random | None) -> Iterator[list[Event]]:
    """The events from commit to commit. The clock goes on between commits, so that work that is done again is done at
    the same time."""
    piece: list[Event] = []
    length = 1
    for event in program.events:
        if isinstance(event, Advance) and piece:
            yield piece
            piece = []
        piece.append(event)
        if isinstance(event, Advance) or len(piece) >= length:
            yield piece
            piece, length = [], 1 if random is None else random.choice([1, 2, 3, 5, 9, 30])
    if piece:
        yield piece


def one_by_one(world: World, program: Program, _random: Random) -> None:
    for piece in pieces(program, None):
        deliver(world, piece)
        world.commit()


def cut(world: World, program: Program, random: Random) -> None:
    for piece in pieces(program, random):
        deliver(world, piece)
        if random.random() < 0.6:
            world.commit()
    world.commit()


def in_pieces(world: World, program: Program, random: Random) -> Iterator[list[Event]]:
    """From commit to commit: records alone where it matters which come together."""
    text = program.text()
    together = ordered(world) and not told(text, world) and "map_async" not in text
    return pieces(program, random if together else None)


def trimmed(world: World, program: Program, random: Random) -> None:
    for piece in in_pieces(world, program, random):
        deliver(world, piece)
        world.commit()
        world.trim()


def rebuilt(world: World, program: Program, random: Random) -> None:
    for piece in in_pieces(world, program, random):
        deliver(world, piece)
        world.commit()
        world.roll_back(sealed=False)


def restored(world: World, program: Program, random: Random) -> None:
    for piece in in_pieces(world, program, random):
        deliver(world, piece)
        world.commit()
        if random.random() < 0.4:
            world.changelogs.compact()
        if random.random() < 0.5:
            world.restore()
    world.restore()


def rolled_back(world: World, program: Program, random: Random) -> None:
    for piece in pieces(program, random):
        for _ in range(random.choice([0, 1, 2]) if not isinstance(piece[0], Advance) else 0):
            for event in piece[: random.randint(1, len(piece))]:
                deliver(world, [event])
            world.roll_back(sealed=random.random() < 0.5)
        deliver(world, piece)
        world.commit()


def commits_lost(world: World, program: Program, random: Random) -> None:
    for piece in pieces(program, random):
        for _ in range(random.choice([0, 1, 2]) if not isinstance(piece[0], Advance) else 0):
            for event in piece[: random.randint(1, len(piece))]:
                deliver(world, [event])
            world.lose_a_commit()
        deliver(world, piece)
        world.commit()
        if random.random() < 0.3:
            world.restore()
    world.restore()


@contextmanager
def copying() -> Iterator[None]:
    vocabulary.COPYING = True
    try:
        yield
    finally:
        vocabulary.COPYING = False


@contextmanager
def storing_again() -> Iterator[None]:
    """Joins store the rows of tables themselves, though they could read them where they are."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (steps, foreign_key_steps):
            patch.setattr(module, "stored_rows", lambda *_: None)
        yield


Way = Callable[[World, Program, Random], None]
WAYS: dict[str, Way] = {
    "cut": cut,
    "trimmed": trimmed,
    "rebuilt": rebuilt,
    "restored": restored,
    "rolled back": rolled_back,
    "commits lost": commits_lost,
    "copies": one_by_one,
    "rows stored again": one_by_one,
}

OTHERWISE = {"copies": copying, "rows stored again": storing_again}
"""The ways in which the program is another one."""


def left_out(program: Program, way: str, world: World) -> str:
    """Return why the results may differ in a way; empty if they must not."""
    text = program.text()
    if way in ("cut", "rolled back", "commits lost") and not ordered(world):
        return "a step reads two ways from one topic: which record comes first there depends on batches"
    if way in ("cut", "rolled back", "commits lost") and told(text, world):
        return "behind a repartition time comes with marks: where they are among the records depends on batches"
    if way in ("cut", "rolled back", "commits lost") and "map_async" in text and meeting(text):
        return "the answer to a call comes when it comes: what it meets there depends on batches"
    if way in ("rolled back", "commits lost") and "global_table" in text:
        return "a global table is not rolled back: docs/joins.md"
    if way in ("rebuilt", "restored", "rolled back", "commits lost") and "max_wait" in text:
        return "the wait of a batch begins again with the task"
    if (
        way in ("rebuilt", "restored")
        and "Keeping" in text
        and any(subtopology.marking.marked_repartitions for subtopology in world.plan.subtopologies)
    ):
        return "a task that is rebuilt tells its time again, which shows in the offsets behind a repartition"
    if way == "commits lost" and (len(world.plan.subtopologies) > 1):
        return "behind a repartition, records count again at least once: docs/guarantees.md"
    return ""


def meeting(text: str) -> bool:
    """Return whether a step combines records of several paths, or time advances beside them."""
    return any(word in text for word in ("merge(", "join(", "cogroup(", "watermark"))


def told(text: str, world: World) -> bool:
    """Return whether watermarks are sent between tasks."""
    return "watermark" in text and len(world.plan.subtopologies) > 1


def ordered(world: World) -> bool:
    """Whether the order of records is given in each part: no two of its inputs come from one topic."""
    roots: dict[str, set[str]] = {}
    writers: dict[str, set[str]] = {}
    for _ in world.plan.subtopologies:
        for subtopology in world.plan.subtopologies:
            read = (
                set().union(*(roots.get(topic, {topic}) for topic, _ in subtopology.inputs))
                if subtopology.inputs
                else set()
            )
            for topic in subtopology.writes.values():
                roots[topic] = read
                writers.setdefault(topic, set()).add(str(subtopology.tasks()))
    for subtopology in world.plan.subtopologies:
        seen: set[str] = set()
        for topic, _ in subtopology.inputs:
            if seen & roots.get(topic, {topic}) or len(writers.get(topic, ())) > 1:
                return False
            seen |= roots.get(topic, {topic})
    return True


def run(program: Program, way: Way, seed: int, *, at_least_once: bool = False, drops: bool = False) -> Outcome:
    world = World(program.app(), at_least_once=at_least_once)
    try:
        way(world, program, Random(seed))
        for unlike in world.unlike():
            raise Violation(program, "codecs", unlike)
        return outcome(world, drops=drops)
    finally:
        world.close()


def check(program: Program, seed: int) -> None:
    """Raises Violation."""
    way = "one by one"
    try:
        base = run(program, one_by_one, seed, drops=True)
        world = World(program.app())
        world.close()
        for way, ways in WAYS.items():
            if left_out(program, way, world):
                continue
            drops = way in ("cut", "trimmed", "rebuilt", *OTHERWISE)
            if way in OTHERWISE:
                with OTHERWISE[way]():
                    other = run(program, one_by_one, seed, drops=True)
            else:
                other = run(program, ways, seed, at_least_once=way == "commits lost", drops=drops)
            for what in differences(base, other):
                raise Violation(program, way, what)
    except Violation:
        raise
    except Exception as failure:
        raise Violation(program, way, f"{type(failure).__name__}: {failure}") from failure


def differences(base: Outcome, other: Outcome) -> Iterator[str]:
    """Return a description of the differences."""
    for name in sorted(base.outputs.keys() | other.outputs.keys()):
        right, found = base.outputs.get(name, []), other.outputs.get(name, [])
        if right != found:
            yield f"output {name}:\n  one by one {right}\n  here       {found}"
    for name, entries in base.stores.items():
        if entries != other.stores[name]:
            yield f"store {name}:\n  one by one {entries}\n  here       {other.stores[name]}"
    if other.drops is not None and base.drops != other.drops:
        yield f"drops:\n  one by one {base.drops}\n  here       {other.drops}"
