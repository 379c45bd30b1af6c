"""Programs with watermarks whose results depend on event time, and their results as a batch.

Two inputs go each at its own pace in event time, out of order by no more than the bound, through a repartition or not,
to one step that goes by time. Whatever the partitions, the order in which tasks go on, the commits and what is done
again: once the inputs are idle, the results are those of the batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, NamedTuple

from tests.random_programs.check import Violation, deliver, pieces
from tests.random_programs.program import Advance, Event, Line, Program, Send
from tests.random_programs.vocabulary import bucket, twin
from tests.random_programs.world import World, visible
from tidemill.operators.serdes.auto import auto

__all__ = ["Timed", "check_timed", "timed"]

START = 1_000_000
IDLE = 500
KEYS = ["k", "l", "m"]
Row = tuple[Any, ...]


class Entry(NamedTuple):
    topic: str
    key: str
    value: int
    time: int


Entries = list[Entry]
Model = Callable[[Entries], Iterable[Row]]
Made = tuple[str, Model, bool, Callable[[Any], Any]]
"""The text of a step, and its results as `Timed` has them."""


class Timed(NamedTuple):
    """A program, and its results as rows of key, a summary of the value, and for windows their start and end."""

    program: Program
    model: Model
    upserts: bool
    """Whether a result replaces an earlier one of its key."""
    told: Callable[[Any], Any]
    """The summary of a value in a row."""
    rekeyed: bool


def by_key(entries: Entries) -> dict[str, Entries]:
    found: dict[str, Entries] = {}
    for entry in sorted(entries, key=lambda entry: entry.time):
        found.setdefault(entry.key, []).append(entry)
    return found


def values(entries: Iterable[Entry]) -> tuple[int, ...]:
    return tuple(sorted(entry.value for entry in entries))


# Models


def fixed(size: int, advance: int) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        found: dict[tuple[str, int], Entries] = {}
        for entry in entries:
            newest = entry.time // advance * advance
            for start in range(newest, entry.time - size, -advance):
                found.setdefault((entry.key, start), []).append(entry)
        return ((key, start, start + size, values(mine)) for (key, start), mine in found.items())

    return rows


def sliding(size: int) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        for key, mine in by_key(entries).items():
            starts = {entry.time - size for entry in mine} | {entry.time + 1 for entry in mine}
            for start in starts:
                inside = values(entry for entry in mine if start <= entry.time <= start + size)
                if inside:
                    yield key, start, start + size, inside

    return rows


def sessions(gap: int) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        for key, mine in by_key(entries).items():
            run: Entries = []
            for entry in [*mine, None]:
                if run and (entry is None or entry.time - run[-1].time > gap):
                    yield key, run[0].time, run[-1].time, values(run)
                    run = []
                if entry is not None:
                    run.append(entry)

    return rows


def newest_state(entries: Entries) -> Iterator[Row]:
    return ((key, values(mine)) for key, mine in by_key(entries).items())


def pairs(before: int, after: int, how: str) -> Model:
    """`before` and `after` are how much older and newer than the left record the right one may be."""

    def rows(entries: Entries) -> Iterator[Row]:
        for key, mine in by_key(entries).items():
            left, right = ([entry for entry in mine if entry.topic == topic] for topic in "ab")
            met = [(one, other) for one in left for other in right if -before <= other.time - one.time <= after]
            yield from ((key, (one.value, other.value)) for one, other in met)
            matched = {entry for pair in met for entry in pair}
            if how != "inner":
                yield from ((key, (one.value, None)) for one in left if one not in matched)
            if how == "outer":
                yield from ((key, (None, other.value)) for other in right if other not in matched)

    return rows


def as_of(how: str) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        for key, mine in by_key(entries).items():
            row: int | None = None
            for entry in mine:
                if entry.topic == "b":
                    row = entry.value
                elif row is not None or how == "left":
                    yield key, (entry.value, row)

    return rows


def once(within: int) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        found: dict[tuple[str, int], list[int]] = {}
        for entry in entries:
            found.setdefault((entry.key, twin(entry.value)), []).append(entry.time)
        for (key, kind), times in found.items():
            for _ in range(len(times) if max(times) - min(times) > within else 1):
                yield key, kind

    return rows


def reckoned(size: int, kept: int) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        for key, start, end, mine in fixed(size, size)(entries):
            alive = values(entry for entry in entries if entry.value in mine and entry.time + kept > end)
            yield key, (start, mine, alive, alive)

    return rows


def windows_joined(size: int) -> Model:
    def rows(entries: Entries) -> Iterator[Row]:
        for key, start, end, mine in fixed(size, size)(entries):
            left = sum(entry.topic == "a" for entry in entries if entry.value in mine)
            yield key, start, end, (left or None, len(mine) - left or None)

    return rows


# Programs


def windowed(random: Random) -> Made:
    size, advance = random.choice([(10, 10), (40, 40), (10, 4), (30, 7)])
    grace = random.choice(["", ", grace=5"])
    text, model = random.choice(
        [
            (f"tm.tumbling({size}{grace})", fixed(size, size)),
            (f"tm.hopping({size}, every={advance}{grace})", fixed(size, advance)),
            (f"tm.sliding({size}{grace})", sliding(size)),
            (f"tm.session(gap={size}{grace})", sessions(size)),
        ]
    )
    fold = ".aggregate(list, collected, merge=joined)"
    end = random.choice([".emit('close')" + fold, f"{fold}.named('w').suppress(until='close')", fold])
    if "session" in text and "suppress" in end:
        end = fold
    return f"s0.merge(s1).group_by_key().window({text}){end}", model, end == fold, in_order


def suppressed(random: Random) -> Made:
    until = random.choice([5, 50])
    held = f"s0.merge(s1).group_by_key().aggregate(list, collected).named('w').suppress(until={until})"
    return held, newest_state, True, in_order


def streams_joined(random: Random) -> Made:
    how = random.choice(["inner", "left", "outer"])
    before, after = random.choice([(0, 0), (5, 5), (20, 20), (3, 30), (30, 0)])
    grace = random.choice(["", ", grace=7"])
    return f's0.join(s1, both, within=({before}, {after}){grace}, how="{how}")', pairs(before, after, how), False, tuple


def versions_joined(random: Random) -> Made:
    how, grace = random.choice(["inner", "left"]), random.choice([1, 9])
    history = random.choice([20, 1_000])
    table = f"s1.to_table(history={history}).named('t')"
    return f's0.join({table}, both, as_of=True, grace={grace}, how="{how}")', as_of(how), False, tuple


def deduplicated(random: Random) -> Made:
    within = random.choice([3, 20, 60])
    return f"s0.merge(s1).deduplicate({within}, by=twin)", once(within), False, twin


def processed(random: Random) -> Made:
    return "s0.merge(s1).process(Reckoning)", reckoned(20, 12), False, frozen


def tables_joined(random: Random) -> Made:
    size = random.choice([10, 40])
    counts = [f"s{at}.group_by_key().window(tm.tumbling({size})).count().named('n{at}')" for at in (0, 1)]
    return f"{counts[0]}.outer_join({counts[1]}, both)", windows_joined(size), True, tuple


def cogrouped(random: Random) -> Made:
    size, advance = random.choice([(10, 10), (40, 40), (30, 7)])
    grace = random.choice(["", ", grace=5"])
    both = "s0.group_by_key().cogroup(collected, (s1.group_by_key(), collected))"
    step = f"{both}.window(tm.hopping({size}, every={advance}{grace})).aggregate(list)"
    return step, fixed(size, advance), True, in_order


MAKERS = [windowed, windowed, windowed, suppressed, streams_joined, versions_joined, deduplicated, processed]
MAKERS += [tables_joined, cogrouped]


def timed(seed: int) -> Timed:
    """The program of a seed."""
    random = Random(f"timed {seed}")
    bound = random.choice([0, 8, 8, 30])
    rekeyed = random.random() < 0.6
    again = ".with_key(bucket, key=tm.utf8).repartition()" if rekeyed else random.choice(["", "", ".repartition()"])
    step, model, upserts, told = random.choice(MAKERS)(random)
    source = f"key=tm.utf8, value=tm.json, watermark=tm.bounded({bound}, idle={IDLE}))"
    lines = [Line(f"s{at}", f'app.stream("{topic}", {source}{again}') for at, topic in enumerate("ab")]
    lines += [Line("s2", f'{step}.named("step")'), Line("", 's2.to("out")')]
    program = Program(tuple(lines), tuple(events(random, bound)))
    return Timed(program, model, upserts, told, rekeyed)


def events(random: Random, bound: int) -> Iterator[Event]:
    """Each topic at its own pace; no two records have the same value or time. Then all is quiet for long."""
    now = dict.fromkeys("ab", START)
    used: set[int] = set()
    for number in range(100, 100 + random.randint(4, 30)):
        topic = random.choice("ab")
        now[topic] += random.choice([0, 1, 3, 9, 9, 30, 200])
        time = now[topic] - random.randint(0, bound)
        while time in used:
            time += 1
        used.add(time)
        now[topic] = max(now[topic], time)
        yield Send(topic, random.choice(KEYS).encode(), str(number).encode(), time)
    for ms in (*[IDLE] * 4, *[50] * 8, *[5_000] * 6):
        yield Advance(ms)


def check_timed(made: Timed, seed: int) -> None:
    """Raises Violation."""
    random = Random(seed)
    entries = [
        Entry(one.topic, bucket(value) if made.rekeyed else (one.key or b"").decode(), value, one.timestamp)
        for one in made.program.events
        if isinstance(one, Send)
        for value in (int(one.value or b""),)
    ]
    right = Counter(made.model(entries))
    for partitions in (1, random.choice([1, 2, 3])):
        try:
            found, late = results(made, partitions, random)
        except Exception as failure:
            raise Violation(made.program, "timed", f"{type(failure).__name__}: {failure}") from failure
        if found != right or late:
            what = f"lacks {[*(right - found).elements()]}\n  has {[*(found - right).elements()]}\n  drops {late}"
            raise Violation(made.program, f"timed, {partitions} partitions", what)


def results(made: Timed, partitions: int, random: Random) -> tuple[Counter[Row], dict[Any, int]]:
    """What came out, and what was dropped as late."""
    world = World(made.program.app(), partitions, random)
    try:
        for piece in pieces(made.program, random):
            moving = isinstance(piece[0], Advance)
            if not moving and random.random() < 0.2:
                for event in piece[: random.randint(1, len(piece))]:
                    deliver(world, [event])
                world.roll_back(sealed=random.random() < 0.5)
            deliver(world, piece)
            world.commit()
            if random.random() < 0.15:
                world.restore()
        sink = next(sink for sink in world.plan.topology.sinks if sink.topic == "out")
        sink_key, value = sink.key or auto, sink.value or auto
        found: list[tuple[Any, Row | None]] = []
        for (topic, _), rows in world.outputs.items():
            for row in visible(rows) if topic == "out" else ():
                key = sink_key.decode(row[0] or b"")
                found.append((key, None if row[1] is None else shown(key, made.told(value.decode(row[1])))))
        late = {place: count for place, count in world.drops().items() if place[1] != "duplicate"}
    finally:
        world.close()
    shown_rows = dict(found).values() if made.upserts else [row for _, row in found]
    return Counter(row for row in shown_rows if row is not None), late


def shown(key: Any, told: Any) -> Row:
    """A result as a row."""
    return (key, told) if isinstance(key, str) else (key.key, key.start, key.end, told)


def in_order(value: list[int]) -> tuple[int, ...]:
    """In the order of values, whatever the order in which they came."""
    return tuple(sorted(value))


def frozen(value: Any) -> Any:
    return tuple(map(frozen, value)) if isinstance(value, list) else value
