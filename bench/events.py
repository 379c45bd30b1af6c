"""The input of all jobs, and the expected output of each.

Events are JSON of about 120 bytes from a seeded generator: the same `Shape` gives the same bytes on every machine and
Python version. Event time advances by 1 ms per record; 5 % of the records are late by up to 5 s. Amounts are whole
cents, so expected sums are exact integers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from bench.answers import pairs, sessions, sliding

__all__ = [
    "BASE_TIME",
    "JOBS",
    "ONE_EACH",
    "SAME_EITHER_WAY",
    "KINDS",
    "Event",
    "Expected",
    "Shape",
    "events",
    "expected",
]

BASE_TIME = 1_700_000_000_000
WINDOW = 60_000
KINDS = ("view", "cart", "buy")
JOBS = {
    "J1": "map: parse, drop a kind, add a field, write",
    "J2": "count and sum per key, persistent store with changelog",
    "J3": "count and sum per key and 1-minute window, grace 10 s",
    "J4": "re-key through a repartition topic, then count and sum",
    "J5": "count and sum per key and session, gap 20 s, grace 10 s",
    "J6": "count and sum per key and sliding window of 10 s, grace 10 s",
    "J7": "join of views and purchases of a user that are at most 10 s apart, grace 10 s",
}
ONE_EACH = frozenset({"J2", "J3", "J4"})
"""Jobs with one output an input, unless only the last per key and commit is sent."""
SAME_EITHER_WAY = frozenset({"J1", "J7"})
"""Jobs whose results do not replace others, so their outputs are the same with a record cache."""

Event = tuple[bytes, bytes, int]
"""Key, value, timestamp in ms."""

Totals = dict[tuple[str, int], tuple[int, int]]
"""Count and cents by key and start of the window (0 without windows)."""


@dataclass(frozen=True)
class Shape:
    """The parameters of the generator; `version` changes when their output changes."""

    records: int
    keys: int = 20_000
    seed: int = 1
    version: int = 1
    note: int = 40
    """The length of the note of each event."""

    @property
    def topic(self) -> str:
        """Return the topic name, derived from the parameters, so that a topic can be reused."""
        return f"bench-events-v{self.version}-{self.records}-{self.keys}-{self.seed}"


def _numbers(shape: Shape) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield user, cents, kind, note and timestamp of each record."""
    bits = random.Random(shape.seed).getrandbits
    keys = shape.keys
    for i in range(shape.records):
        r = bits(96)
        late = (r >> 64) % 100_000
        timestamp = BASE_TIME + i
        if late < 5_000:  # 5 in 100; the number is also the lateness in ms
            timestamp -= late + 1
        yield (r & 0xFFFFFFFF) % keys, (r >> 32 & 0xFFFFF) % 10_000, (r >> 52 & 0xFF) % 3, (r >> 84) % 4096, timestamp


def events(shape: Shape) -> Iterator[Event]:
    """Yield the records of this shape in the order in which they are written."""
    letters = random.Random(shape.seed + 1)
    notes = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz ", k=shape.note)).encode() for _ in range(4096)]
    kinds = [kind.encode() for kind in KINDS]
    users = [b"user-%d" % n for n in range(shape.keys)]
    for user, cents, kind, note, timestamp in _numbers(shape):
        key = users[user]
        yield (
            key,
            b'{"user":"%b","amount":%d.%02d,"ts":%d,"kind":"%b","note":"%b"}'
            % (key, cents // 100, cents % 100, timestamp, kinds[kind], notes[note]),
            timestamp,
        )


@dataclass(frozen=True)
class Expected:
    """The expected output of one job for the whole input."""

    outputs: int
    """The number of outputs if each input that is not filtered out has one output."""
    totals: Totals
    """The last value per key (J1 and J7: one entry for all outputs together, under the empty key)."""


def expected(shape: Shape, job: str) -> Expected:
    """Compute the expected output of a job independently of any engine.

    The number of outputs of J5 and J6 is that of windows: the number of updates depends on the order of records.
    """
    if job in ("J5", "J6"):
        sent = ((user, time, cents) for user, cents, _, _, time in _numbers(shape))
        found = sessions(sent) if job == "J5" else sliding(sent)
        return Expected(len(found), {(f"user-{user}", start): row for (user, start), row in found.items()})
    if job == "J7":
        views, buys = (
            [(user, time, cents) for user, cents, kind, _, time in _numbers(shape) if KINDS[kind] == name]
            for name in ("view", "buy")
        )
        count, cents = pairs(views, buys)
        return Expected(count, {("", 0): (count, cents)})
    counts: dict[tuple[int, int], int] = {}
    cents_of: dict[tuple[int, int], int] = {}
    outputs = 0
    digit = [int(str(n)[0]) for n in range(shape.keys)]
    for user, cents, kind, _, timestamp in _numbers(shape):
        if job == "J1":
            if KINDS[kind] == "cart":
                continue
            place = (0, 0)
        elif job == "J2":
            place = (user, 0)
        elif job == "J3":
            place = (user, timestamp - timestamp % WINDOW)
        elif job == "J4":
            place = (kind * 10 + digit[user], 0)
        else:
            raise ValueError(f"unknown job {job!r}")
        outputs += 1
        counts[place] = counts.get(place, 0) + 1
        cents_of[place] = cents_of.get(place, 0) + cents
    names = {
        "J1": lambda n: "",
        "J2": lambda n: f"user-{n}",
        "J3": lambda n: f"user-{n}",
        "J4": lambda n: f"{KINDS[n // 10]}{n % 10}",
    }[job]
    return Expected(outputs, {(names(n), start): (counts[n, start], cents_of[n, start]) for n, start in counts})
