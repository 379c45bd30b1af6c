"""Marks: what a task that writes a repartition topic tells those that read it of its time.

A mark is a record of the topic without a key and a value and with one header. It comes after all records that its time
covers, in the same transaction as they or in a later one, so whoever has read it will get nothing older of that task.
A reader keeps the last one of each task that writes the topic. Its time for the input is the least of them; tasks that
are idle do not count. What it keeps goes with its committed offset: see `watermarks.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from ...operators.record import Batch, Row

__all__ = ["FOREVER", "Mark", "Producers", "State", "Told", "is_mark", "mark_row", "split", "told_as"]

HEADER: Final = "tidemill-time"
FOREVER: Final = 1 << 62
LAYOUT: Final = Struct(">BBIIIq")
VERSION: Final = 1
LETTERS: Final = "bli"
UNKNOWN: Final = "-"
MOST: Final = 3_500
"""Tasks whose state is kept with an offset: Kafka takes 4096 bytes there unless told otherwise."""


class State(IntEnum):
    """What a task that writes a topic is waiting for."""

    BEHIND = 0
    """It has more to read."""
    LIVE = 1
    """It was at the end of all its inputs just now."""
    IDLE = 2
    """Its inputs have brought nothing for so long that it is not waited for."""


class Producers(NamedTuple):
    """The tasks that write a topic: those of one sub-topology."""

    part: int
    """Tells sub-topologies apart, whatever their numbers are in this version of the program."""
    width: int
    """How many there are."""


def told_as(name: str) -> int:
    """How marks name a sub-topology."""
    return crc32(name.encode())


class Mark(NamedTuple):
    """What one task tells."""

    part: int
    number: int
    width: int
    time: int
    """It writes nothing older any more; -1 when it cannot say anything yet."""
    state: State


def mark_row(mark: Mark, partition: int) -> Row:
    """The record that carries a mark to a partition."""
    content = LAYOUT.pack(VERSION, mark.state, mark.part, mark.number, mark.width, mark.time)
    return None, None, max(mark.time, 0), [(HEADER, content)], partition


def is_mark(key: object, value: object, headers: Sequence[tuple[str, bytes | None]] | None) -> bool:
    """Whether a record of a repartition topic is a mark."""
    return key is None and value is None and bool(headers) and len(headers) == 1 and headers[0][0] == HEADER


def split(batch: Batch) -> tuple[Batch | None, list[tuple[int, Mark]]]:
    """The records of a batch without the marks, None when there are no others, and the marks with their offsets."""
    headers = batch.headers
    if headers is None:
        return batch, []
    places = [
        place for place, found in enumerate(headers) if found and is_mark(batch.keys[place], batch.values[place], found)
    ]
    if not places:
        return batch, []
    marks = [(batch.offsets[place], mark) for place in places if (mark := _unpacked(headers[place][0][1])) is not None]
    if len(places) == len(headers):
        return None, marks
    out = set(places)
    kept = [place for place in range(len(headers)) if place not in out]
    left = [headers[place] for place in kept]
    records = Batch(
        batch.topic,
        batch.partition,
        [batch.keys[place] for place in kept],
        [batch.values[place] for place in kept],
        [batch.timestamps[place] for place in kept],
        [batch.offsets[place] for place in kept],
        left if any(left) else None,
        batch.size,
    )
    return records, marks


def _unpacked(content: bytes | None) -> Mark | None:
    """The mark; None for one of a later version of Tidemill, which this one does not understand."""
    if (
        content is None
        or len(content) != LAYOUT.size
        or content[0] != VERSION
        or content[1] not in State.__members__.values()
    ):
        return None
    _, state, part, number, width, time = LAYOUT.unpack(content)
    return Mark(part, number, width, time, State(state))


class _Sum(NamedTuple):
    """What all tasks that write an input have told together."""

    time: int
    reached: int
    idle: bool


def _sum_of(told: Collection[tuple[int, State]], newest: int) -> _Sum:
    active = [time for time, state in told if state is not State.IDLE]
    behind = [time for time, state in told if state is State.BEHIND]
    return _Sum(min(active) if active else newest, min(behind) if behind else FOREVER, not active)


class Told:
    """What the tasks that write one input have told so far.

    Until each has told something the time of the input is not known. A task that is in no plan here yet is waited for
    once it has told of itself: topics gain partitions while processes run.
    """

    def __init__(self, producers: Producers, kept: str = "") -> None:
        """`kept` is what was known when the input's offset was committed."""
        self._part = producers.part
        self._width = producers.width
        self._told: dict[int, tuple[int, State]] = {}
        self._newest = -1
        self._kept: str | None = kept
        if kept:
            self._told, self._newest = _kept(kept, self._part, self._width)
            self._kept = None
        self._summed: _Sum | None = None

    def take(self, mark: Mark) -> bool:
        """Takes up what a task tells; False when it is none of those that write the topic."""
        if mark.part != self._part or mark.number >= max(self._width, mark.width):
            return False
        self._width = max(self._width, mark.width)
        known = self._told.get(mark.number)
        time = mark.time if known is None else max(known[0], mark.time)
        self._told[mark.number] = time, mark.state
        self._newest = max(self._newest, time)
        self._kept = self._summed = None
        return True

    @property
    def complete(self) -> bool:
        """Whether each task has told something."""
        return len(self._told) == self._width

    @property
    def idle(self) -> bool:
        """Whether none is waited for."""
        return self._sum().idle

    @property
    def live(self) -> bool:
        """Whether none has more to read."""
        return self._sum().reached == FOREVER

    @property
    def time(self) -> int:
        """Nothing older comes any more from those that are not idle; the newest when all are; -1 when unknown."""
        return self._sum().time

    @property
    def reached(self) -> int:
        """Those that still have more to read write nothing older than this."""
        return self._sum().reached

    def _sum(self) -> _Sum:
        if self._summed is None:
            self._summed = _sum_of(self._told.values(), self._newest) if self.complete else _Sum(-1, -1, False)
        return self._summed

    def behind(self) -> Iterator[tuple[int, int, int]]:
        """The tasks that have more to read: their sub-topology, number, and time."""
        return ((self._part, number, time) for number, (time, state) in self._told.items() if state is State.BEHIND)

    def __str__(self) -> str:
        """As text that can be kept with an offset.

        The least time, as if all had told that, who waits for what, and the newest time, which counts when all are
        idle: those that are do not tell it again.
        """
        if self._kept is None:
            told = self._told
            letters = [LETTERS[told[number][1]] if number in told else UNKNOWN for number in range(self._width)]
            newest = "" if self._newest == self.time else f".{self._newest}"
            text = f"{self._part:x}.{self.time}.{''.join(letters)}{newest}"
            self._kept = text if len(letters) <= MOST else ""
        return self._kept


def _kept(text: str, part: int, width: int) -> tuple[dict[int, tuple[int, State]], int]:
    """What each task had told, and the newest time, as far as it was kept; nothing of another sub-topology."""
    name, least, states, newest = (*text.split("."), "", "", "", "")[:4]
    if name != f"{part:x}" or not _is_time(least):
        return {}, -1
    time = int(least)
    told = {
        number: (time, State(LETTERS.index(letter)))
        for number, letter in enumerate(states[:width])
        if letter in LETTERS
    }
    return told, int(newest) if _is_time(newest) else time


def _is_time(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
