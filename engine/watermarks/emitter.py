"""When a task tells its time to those that read the repartition topics it writes.

Pure. It tells of itself when it begins, when what it waits for changes, and when its time has come into the next grain;
not more often than the number of marks allows: each goes to every partition of the topic. What is rolled back is told
again: whoever discards work begins with a new `Telling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...operators.record import Outgoing
from .records import Mark, State, mark_row

__all__ = ["Telling", "Topic"]

AGAIN_MS = 60_000
"""After so long a task that others wait for tells its time again: who was restarted knows the least of all only."""
MARKS_A_SECOND = 1_000
"""All tasks of a sub-topology together write about so many marks to a topic at most."""


class Topic(NamedTuple):
    """A repartition topic that a task writes."""

    name: str
    partitions: int
    grain: int | None
    """The steps in which time goes on for those that read it, in ms; None where they only wait for who is behind."""


class Telling:
    """The marks of one task."""

    def __init__(self, part: int, number: int, width: int, topics: Mapping[int, Topic]) -> None:
        """`topics` by the repartitions that write them; the task is `number` of `width`."""
        self._part = part
        self._number = number
        self._width = width
        self.topics = topics
        self._last: dict[int, tuple[int, State]] = {}
        self._at: dict[int, int] = {}

    @property
    def begun(self) -> bool:
        """Whether it has told of itself on every topic."""
        return len(self._last) == len(self.topics)

    def marks(self, node: int, time: int, state: State, now: int, *, at_once: bool = False) -> list[Outgoing]:
        """What is to be told on the topic of a repartition; with `at_once`, however little time has passed."""
        topic = self.topics[node]
        last = self._last.get(node)
        if last is not None:
            if state is last[1] and not self._moves(topic, last[0], time, state, now - self._at[node]):
                return []
            pause = 1_000 * self._width * topic.partitions // MARKS_A_SECOND
            if not at_once and 0 <= now - self._at[node] < pause:
                return []
        self._last[node] = time, state
        self._at[node] = now
        mark = Mark(self._part, self._number, self._width, time, state)
        return [Outgoing(topic.name, [mark_row(mark, number) for number in range(topic.partitions)])]

    @staticmethod
    def _moves(topic: Topic, before: int, time: int, state: State, since: int) -> bool:
        """Whether those that wait for this task want to know of this time, so long since they were told of one."""
        if state is State.IDLE or (topic.grain is None and state is State.LIVE):
            return False
        return time // (topic.grain or 1) > before // (topic.grain or 1) or since >= AGAIN_MS
