"""Marks: records with a task's watermark, for the readers of a repartition topic.

A mark is a record without key and value, and with one header. It follows all records that its time covers, in their
transaction or a later one, so that a reader of the mark gets nothing older from this task afterwards. A reader keeps
the last mark of each task that writes the topic. The watermark of the input is the minimum of their times; idle tasks
do not count. What the reader keeps is committed with its offset: see `watermarks.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import IntEnum
from struct import Struct
from typing import Final, NamedTuple
from zlib import crc32

from ...operators.record import Batch, Row

__all__ = [
    "FOREVER",
    "Mark",
    "ProducerState",
    "ReceivedMarks",
    "UpstreamTasks",
    "is_mark",
    "mark_id",
    "mark_row",
    "moved",
    "renamed",
    "split_marks",
]

HEADER: Final = "tidemill-time"
FOREVER: Final = 1 << 62
LAYOUT: Final = Struct(">BBIIIq")
VERSION: Final = 1
LETTERS: Final = "bli"
UNKNOWN: Final = "-"
MOST: Final = 3_500
"""The maximum number of tasks whose state is stored with an offset: Kafka accepts 4096 bytes there by default."""


class ProducerState(IntEnum):
    """The state of a task that writes a topic."""

    BEHIND = 0
    """It has more to read."""
    LIVE = 1
    """It has just reached the end of all its inputs."""
    IDLE = 2
    """Its inputs have had no records for so long that readers do not wait for it."""


class UpstreamTasks(NamedTuple):
    """The tasks that write a topic: those of one sub-topology."""

    subtopology: int
    """Identifies the sub-topology, independently of its number in this version of the program."""
    width: int
    """The number of tasks."""


def mark_id(name: str) -> int:
    """Return the id of a sub-topology in marks."""
    return crc32(name.encode())


class Mark(NamedTuple):
    """The watermark and state of one task."""

    subtopology: int
    number: int
    width: int
    time: int
    """The task will write nothing older; -1 if that is not known yet."""
    state: ProducerState


def mark_row(mark: Mark, partition: int) -> Row:
    """Make the record that carries a mark to a partition."""
    content = LAYOUT.pack(VERSION, mark.state, mark.subtopology, mark.number, mark.width, mark.time)
    return None, None, max(mark.time, 0), [(HEADER, content)], partition


def is_mark(key: object, value: object, headers: Sequence[tuple[str, bytes | None]] | None) -> bool:
    """Return whether a record of a repartition topic is a mark."""
    return key is None and value is None and bool(headers) and len(headers) == 1 and headers[0][0] == HEADER


def split_marks(batch: Batch) -> tuple[Batch | None, list[tuple[int, Mark]]]:
    """Separate the marks of a batch, with their offsets, from its records (None without any)."""
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
    """Decode a mark; None for a format of a later version of Tidemill."""
    if (
        content is None
        or len(content) != LAYOUT.size
        or content[0] != VERSION
        or content[1] not in ProducerState.__members__.values()
    ):
        return None
    _, state, subtopology, number, width, time = LAYOUT.unpack(content)
    return Mark(subtopology, number, width, time, ProducerState(state))


class _Sum(NamedTuple):
    """The combined state of all tasks that write an input."""

    time: int
    reached: int
    idle: bool


def _sum_of(marks: Collection[tuple[int, ProducerState]], newest: int) -> _Sum:
    active = [time for time, state in marks if state is not ProducerState.IDLE]
    behind = [time for time, state in marks if state is ProducerState.BEHIND]
    return _Sum(min(active) if active else newest, min(behind) if behind else FOREVER, not active)


class ReceivedMarks:
    """The last marks of the tasks that write one input.

    The watermark of the input is unknown until each task has written a mark. A task that is not in this process's plan
    yet counts as soon as it has written a mark: topics gain partitions while processes run.
    """

    def __init__(self, producers: UpstreamTasks, kept: str = "") -> None:
        """Start from what was stored with the input's committed offset (`kept`)."""
        self._part = producers.subtopology
        self._width = producers.width
        self._by_task: dict[int, tuple[int, ProducerState]] = {}
        self._newest = -1
        self._kept: str | None = kept
        if kept:
            self._by_task, self._newest = _kept(kept, self._part, self._width)
            self._kept = None
        self._summed: _Sum | None = None

    def take(self, mark: Mark) -> bool:
        """Take a mark; return False if it is of a task that does not write the topic."""
        if mark.subtopology != self._part or mark.number >= max(self._width, mark.width):
            return False
        self._width = max(self._width, mark.width)
        known = self._by_task.get(mark.number)
        time = mark.time if known is None else max(known[0], mark.time)
        self._by_task[mark.number] = time, mark.state
        self._newest = max(self._newest, time)
        self._kept = self._summed = None
        return True

    @property
    def complete(self) -> bool:
        """Whether each task has written a mark."""
        return len(self._by_task) == self._width

    @property
    def idle(self) -> bool:
        """Whether all tasks are idle."""
        return self._sum().idle

    @property
    def live(self) -> bool:
        """Whether no task has more to read."""
        return self._sum().reached == FOREVER

    @property
    def time(self) -> int:
        """The watermark of tasks that are not idle; the newest time if all are idle; -1 if unknown."""
        return self._sum().time

    @property
    def reached(self) -> int:
        """The minimum time of the tasks that still have more to read."""
        return self._sum().reached

    def _sum(self) -> _Sum:
        if self._summed is None:
            self._summed = _sum_of(self._by_task.values(), self._newest) if self.complete else _Sum(-1, -1, False)
        return self._summed

    def behind(self) -> Iterator[tuple[int, int, int]]:
        """Return the tasks that have more to read: their sub-topology, number, and time."""
        return (
            (self._part, number, time)
            for number, (time, state) in self._by_task.items()
            if state is ProducerState.BEHIND
        )

    def __str__(self) -> str:
        """Encode the state for storage with an offset.

        It has the minimum of the times, as if it were the time of every task, the state of each task, and the newest
        time, which counts if all are idle: idle tasks do not write it again.
        """
        if self._kept is None:
            marks = self._by_task
            letters = [LETTERS[marks[number][1]] if number in marks else UNKNOWN for number in range(self._width)]
            newest = "" if self._newest == self.time else f".{self._newest}"
            text = f"{self._part:x}.{self.time}.{''.join(letters)}{newest}"
            self._kept = text if len(letters) <= MOST else ""
        return self._kept


def _kept(text: str, subtopology: int, width: int) -> tuple[dict[int, tuple[int, ProducerState]], int]:
    """Decode what was stored with an offset: time and state of each task, and newest time.

    Returns nothing for another sub-topology.
    """
    name, least, states, newest = (*text.split("."), "", "", "", "")[:4]
    if name != f"{subtopology:x}" or not _is_time(least):
        return {}, -1
    time = int(least)
    marks = {
        number: (time, ProducerState(LETTERS.index(letter)))
        for number, letter in enumerate(states[:width])
        if letter in LETTERS
    }
    return marks, int(newest) if _is_time(newest) else time


def renamed(text: str, ids: Mapping[int, int]) -> str:
    """Return what is stored with an offset for sub-topologies that have other ids now."""
    name, dot, rest = text.partition(".")
    number = int(name, 16)
    return f"{ids.get(number, number):x}{dot}{rest}"


def moved(headers: list[tuple[str, bytes | None]], ids: Mapping[int, int]) -> list[tuple[str, bytes | None]]:
    """Return the headers of a mark for sub-topologies that have other ids now."""
    mark = _unpacked(headers[0][1])
    if mark is None or mark.subtopology not in ids:
        return headers
    content = LAYOUT.pack(VERSION, mark.state, ids[mark.subtopology], mark.number, mark.width, mark.time)
    return [(HEADER, content)]


def _is_time(text: str) -> bool:
    return text.removeprefix("-").isdecimal()
