"""The input of every job, and what each job must make of it.

Events are JSON of about 120 bytes from a seeded generator: the same `Shape` is the same bytes on every machine and
every Python. Event time advances by 1 ms a record; 5 % of the records are late by up to 5 s. Amounts are whole
cents, so that expected sums are exact integers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["BASE_TIME", "JOBS", "KINDS", "Event", "Expected", "Shape", "events", "expected"]

BASE_TIME = 1_700_000_000_000
WINDOW = 60_000
KINDS = ("view", "cart", "buy")
JOBS = {
    "J1": "map: parse, drop a kind, add a field, write",
    "J2": "count and sum per key, persistent store with changelog",
    "J3": "count and sum per key and 1-minute window, grace 10 s",
    "J4": "re-key through a repartition topic, then count and sum",
}

Event = tuple[bytes, bytes, int]
"""Key, value, timestamp in ms."""

Totals = dict[tuple[str, int], tuple[int, int]]
"""By key and start of the window (0 without one): how many, and cents."""


@dataclass(frozen=True)
class Shape:
    """What is generated. `version` changes whenever the bytes for the same numbers change."""

    records: int
    keys: int = 20_000
    seed: int = 1
    version: int = 1

    @property
    def topic(self) -> str:
        """The name of the topic that holds this input: it says what is in it, so that it is made once a broker."""
        return f"bench-events-v{self.version}-{self.records}-{self.keys}-{self.seed}"


def _numbers(shape: Shape) -> Iterator[tuple[int, int, int, int, int]]:
    """User, cents, kind, note and timestamp of each record."""
    bits = random.Random(shape.seed).getrandbits
    keys = shape.keys
    for i in range(shape.records):
        r = bits(96)
        late = (r >> 64) % 100_000
        timestamp = BASE_TIME + i
        if late < 5_000:  # 5 in 100, and how late is the number itself
            timestamp -= late + 1
        yield (r & 0xFFFFFFFF) % keys, (r >> 32 & 0xFFFFF) % 10_000, (r >> 52 & 0xFF) % 3, (r >> 84) % 4096, timestamp


def events(shape: Shape) -> Iterator[Event]:
    """The records of this shape, in the order in which they are written."""
    letters = random.Random(shape.seed + 1)
    notes = ["".join(letters.choices("abcdefghijklmnopqrstuvwxyz ", k=40)).encode() for _ in range(4096)]
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
    """What one job must have written when it has read everything."""

    outputs: int
    """How many records when every input that counts has one output."""
    totals: Totals
    """The last value by key (J1: one entry, all outputs together, under the empty key)."""


def expected(shape: Shape, job: str) -> Expected:
    """The right answer, from the same numbers and by other means than any engine's."""
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
