"""Programs with watermarks and a repartition whose results depend on event time, and their results as a batch.

The partitions of the inputs are aligned in event time, or independent and hours apart; each is out of order by less
than the bound. When all input is read and has become idle, each result must have been emitted once, as computed by the
models, which see all records at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Final, NamedTuple

import tidemill as tm
from tidemill.operators.serdes.keys import windowed_key

__all__ = ["IDLE_MS", "TIMED", "Clocks", "Input", "Result", "read"]

BOUND: Final = 20_000
IDLE_MS: Final = 600_000
"""Longer than any fault phase: no input is idle before all is read."""
SIZE, GAP, WITHIN, KEPT = 60_000, 15_000, 30_000, 40_000
"""In ms: the size of windows, the gap of sessions, the time of joins and duplicates, and the time to live."""
WINDOWS = tm.tumbling(SIZE)
SESSIONS = tm.session(gap=GAP)
START: Final = 1_700_000_040_000 // SIZE * SIZE

Row = tuple[Any, ...]


class Input(NamedTuple):
    """A record that was written to an input topic."""

    topic: str
    one: int
    time: int

    @property
    def key(self) -> str:
        return grouped(self.one)


class Result(NamedTuple):
    """An output topic: how its records are read, and the expected rows in any order."""

    topic: str
    meaning: Callable[[Any, Any, int], Row]
    """Converts key, value and timestamp of a record into a row."""
    model: Callable[[list[Input]], Iterable[Row]]
    window: Any = None
    """The windows of its keys."""
    upserts: bool = False
    """Whether a record replaces an earlier one of its key."""


def grouped(one: int) -> str:
    """Return the key after the repartition, which two consecutive records share."""
    return f"r{one // 2 % 3}"


def pair_of(one: int) -> int:
    return one // 2


def stream(app: tm.App, topic: str) -> tm.Stream[str, int]:
    """Return an input with a watermark, repartitioned."""
    mark = tm.bounded(BOUND, idle=IDLE_MS)
    source = app.stream(topic, key=tm.utf8, value=tm.int64, watermark=mark)
    return source.with_key(grouped, key=tm.utf8).repartition()


class Alarms(tm.Processor[str, int, Any]):
    """Emit at the end of each minute what was received in it, and which of it has not expired."""

    times = tm.MapState(int, int, ttl=KEPT, name="times")
    last = tm.WindowState(int, retention=KEPT, name="last")

    def process(self, value: int, ctx: tm.Context[str]) -> Any:
        self.times[value] = ctx.timestamp
        self.last.put(value, ctx.timestamp)
        end = ctx.timestamp // SIZE * SIZE + SIZE
        ctx.timer(str(end), at=end)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        end = int(name)
        alive = sorted(one for one, time in self.times.items() if end - SIZE <= time < end)
        return [[end, alive, sorted(one for _, one in self.last.fetch(end - SIZE, end - 1))]]


def collected(so_far: list[int], one: int) -> list[int]:
    return [*so_far, one]


def both(one: Any, other: Any) -> Any:
    return [one, other]


def counted(source: tm.Stream[str, int], name: str) -> tm.Table[Any, int]:
    return source.group_by_key().window(WINDOWS).count().named(name)


def alone(app: tm.App, _add: object) -> None:
    """Build a program with steps of one stream."""
    source = stream(app, "in").merge(stream(app, "more"))
    groups = source.group_by_key()
    groups.window(WINDOWS).emit("close").aggregate(list[int], collected, value=tm.json).named("closed").to("closed")
    held = groups.window(WINDOWS).aggregate(list[int], collected, value=tm.json).named("updated")
    held.suppress(until="close").named("held").to("held")
    visits = groups.window(SESSIONS).emit("close")
    visits.aggregate(list[int], collected, merge=list.__add__, value=tm.json).named("visits").to("visits")
    source.process(Alarms).named("alarms").to("alarms", value=tm.json)
    source.deduplicate(WITHIN, by=pair_of).named("once").to("once", value=tm.int64)


def together(app: tm.App, _add: object) -> None:
    """Build a program with steps of two streams, and a second repartition after an outer join."""
    left, right = stream(app, "in"), stream(app, "more")
    joined = left.join(right, both, within=WITHIN, how="outer").named("joined")
    joined.to("joined", value=tm.json)
    again = joined.group_by(lambda pair: "none" if None in pair else "some", key=tm.utf8).window(WINDOWS).emit("close")
    again.count().named("again").to("again", value=tm.int64)
    rows = right.to_table(history="30d").named("rows")
    left.join(rows, both, as_of=True, how="left", grace=1).named("as-of").to("as-of", value=tm.json)
    windows = counted(left, "n-in").outer_join(counted(right, "n-more"), both, value=tm.json).named("windows")
    windows.to("windows")


# The expected results, computed as a batch


def by_key(inputs: Iterable[Input]) -> dict[str, list[Input]]:
    found: dict[str, list[Input]] = {}
    for record in sorted(inputs, key=lambda record: record.time):
        found.setdefault(record.key, []).append(record)
    return found


def in_windows(inputs: Iterable[Input]) -> dict[tuple[str, int], list[Input]]:
    found: dict[tuple[str, int], list[Input]] = {}
    for record in inputs:
        found.setdefault((record.key, record.time // SIZE * SIZE), []).append(record)
    return found


def ones(records: Iterable[Input]) -> tuple[int, ...]:
    return tuple(sorted(record.one for record in records))


def windows_of(inputs: list[Input]) -> Iterator[Row]:
    for (key, start), records in in_windows(inputs).items():
        yield key, start, start + SIZE, ones(records)


def visits_of(inputs: list[Input]) -> Iterator[Row]:
    for key, mine in by_key(inputs).items():
        visit: list[Input] = []
        for record in [*mine, None]:
            if visit and (record is None or record.time - visit[-1].time > GAP):
                yield key, visit[0].time, visit[-1].time, ones(visit)
                visit = []
            if record is not None:
                visit.append(record)


def alarms_of(inputs: list[Input]) -> Iterator[Row]:
    for (key, start), records in in_windows(inputs).items():
        alive = ones(record for record in records if record.time + KEPT > start + SIZE)
        yield key, start + SIZE, alive, alive


def once_of(inputs: list[Input]) -> Iterator[Row]:
    """Accept either record of a pair as the first."""
    pairs: dict[int, list[int]] = {}
    for record in inputs:
        pairs.setdefault(pair_of(record.one), []).append(record.time)
    for pair, times in pairs.items():
        for _ in range(1 if max(times) - min(times) <= WITHIN else 2):
            yield grouped(2 * pair), pair


def joined_records(inputs: list[Input]) -> Iterator[tuple[str, Input | None, Input | None]]:
    for key, mine in by_key(inputs).items():
        left = [record for record in mine if record.topic == "in"]
        right = [record for record in mine if record.topic == "more"]
        pairs = [(one, other) for one in left for other in right if abs(one.time - other.time) <= WITHIN]
        yield from ((key, *pair) for pair in pairs)
        matched = {record for pair in pairs for record in pair}
        yield from ((key, record, None) for record in left if record not in matched)
        yield from ((key, None, record) for record in right if record not in matched)


def one_of(record: Input | None) -> int | None:
    return None if record is None else record.one


def joined_of(inputs: list[Input]) -> Iterator[Row]:
    return ((key, one_of(left), one_of(right)) for key, left, right in joined_records(inputs))


def again_of(inputs: list[Input]) -> Iterator[Row]:
    counts: dict[tuple[str, int], int] = {}
    for _, left, right in joined_records(inputs):
        time = max(record.time for record in (left, right) if record is not None)
        place = ("none" if left is None or right is None else "some", time // SIZE * SIZE)
        counts[place] = counts.get(place, 0) + 1
    return ((*place, count) for place, count in counts.items())


def as_of(inputs: list[Input]) -> Iterator[Row]:
    for key, mine in by_key(inputs).items():
        row: int | None = None
        for record in mine:
            if record.topic == "in":
                yield key, record.one, row
            else:
                row = record.one


def joined_windows(inputs: list[Input]) -> Iterator[Row]:
    for (key, start), records in in_windows(inputs).items():
        left = sum(record.topic == "in" for record in records)
        yield key, start, left or None, len(records) - left or None


TIMED: Final[dict[str, tuple[Callable[[tm.App, Any], None], tuple[Result, ...]]]] = {
    "alone": (
        alone,
        (
            Result("closed", lambda k, v, _: (k.key, k.start, k.end, tuple(sorted(v))), windows_of, WINDOWS),
            Result("held", lambda k, v, _: (k.key, k.start, k.end, tuple(sorted(v))), windows_of, WINDOWS),
            Result("visits", lambda k, v, _: (k.key, k.start, k.end, tuple(sorted(v))), visits_of, SESSIONS),
            Result("alarms", lambda k, v, _: (k, v[0], tuple(v[1]), tuple(v[2])), alarms_of),
            Result("once", lambda k, v, _: (k, pair_of(v)), once_of),
        ),
    ),
    "together": (
        together,
        (
            Result("joined", lambda k, v, _: (k, *v), joined_of),
            Result("again", lambda k, v, _: (k.key, k.start, v), again_of, WINDOWS),
            Result("as-of", lambda k, v, _: (k, *v), as_of),
            Result("windows", lambda k, v, _: (k.key, k.start, *v), joined_windows, WINDOWS, upserts=True),
        ),
    ),
}
"""The programs and their results, by name."""


class Clocks:
    """The event time of each input partition: aligned, as in a live run, or independent."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._live = random.random() < 0.6
        self._now: dict[tuple[str, int], int] = {}

    def next(self, partition: tuple[str, int], one: int) -> int:
        """Return the unique timestamp of the next record of a partition."""
        draw = self._random
        place = ("", 0) if self._live else partition
        now = self._now.get(place)
        if now is None:
            now = START + (0 if self._live else draw.choice((0, 0, 100_000, 20_000_000)))
        now += draw.choice((0, 2_000, 9_000, 9_000, 30_000, 30_000, 200_000, 200_000 if self._live else 8_000_000))
        self._now[place] = now
        return (now - draw.randrange(BOUND - 2_000)) // 1_000 * 1_000 + one


def read(result: Result, key: bytes | None, value: bytes | None, timestamp: int) -> tuple[Any, Row]:
    """Decode a result record into its key and its row."""
    serde = tm.utf8 if result.window is None else windowed_key(tm.utf8, result.window)
    decode = tm.int64.decode if result.topic in ("once", "again") else tm.json.decode
    name = serde.decode(key or b"")
    return name, result.meaning(name, decode(value or b""), timestamp)
