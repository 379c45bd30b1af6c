"""When a task writes marks with its watermark to the repartition topics that it writes.

Pure. A task writes a mark when it starts, when its state changes, and when its watermark enters the next grain, but not
more often than the limit on the number of marks allows: each mark goes to every partition of the topic. Marks that are
rolled back have to be written again: a caller that discards work starts with a new `MarkEmitter`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...operators.record import Outgoing
from .records import Mark, ProducerState, mark_row

__all__ = ["MarkEmitter", "MarkedTopic"]

AGAIN_MS = 60_000
"""The time after which a task that others wait for repeats its watermark: a restarted reader knows only the minimum."""
MARKS_A_SECOND = 1_000
"""The approximate maximum number of marks that all tasks of a sub-topology write to a topic per second."""


class MarkedTopic(NamedTuple):
    """A repartition topic that a task writes."""

    name: str
    partitions: int
    grain: int | None
    """The grain of the watermark for readers of the topic, in ms; None if they only wait for tasks that are behind."""


class MarkEmitter:
    """The marks that one task writes."""

    def __init__(self, subtopology: int, number: int, width: int, topics: Mapping[int, MarkedTopic]) -> None:
        """Take the `topics` by the repartition that writes each; the task is `number` of `width`."""
        self._part = subtopology
        self._number = number
        self._width = width
        self.topics = topics
        self._last: dict[int, tuple[int, ProducerState]] = {}
        self._at: dict[int, int] = {}

    @property
    def begun(self) -> bool:
        """Whether marks were written to every topic."""
        return len(self._last) == len(self.topics)

    def marks(self, node: int, time: int, state: ProducerState, now: int, *, at_once: bool = False) -> list[Outgoing]:
        """Return the marks to write to the topic of a repartition.

        With `at_once`, the limit on the number of marks is ignored, and so is the grain.
        """
        topic = self.topics[node]
        last = self._last.get(node)
        if last is not None:
            grain = 1 if at_once and topic.grain is not None else topic.grain
            if state is last[1] and not self._moves(grain, last[0], time, state, now - self._at[node]):
                return []
            pause = 1_000 * self._width * topic.partitions // MARKS_A_SECOND
            if not at_once and 0 <= now - self._at[node] < pause:
                return []
        self._last[node] = time, state
        self._at[node] = now
        mark = Mark(self._part, self._number, self._width, time, state)
        return [Outgoing(topic.name, [mark_row(mark, number) for number in range(topic.partitions)])]

    @staticmethod
    def _moves(grain: int | None, before: int, time: int, state: ProducerState, since: int) -> bool:
        """Return whether readers need this time, `since` ms after the last mark."""
        if state is ProducerState.IDLE or (grain is None and state is ProducerState.LIVE):
            return False
        return time // (grain or 1) > before // (grain or 1) or since >= AGAIN_MS
