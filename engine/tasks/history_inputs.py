"""The histories among the inputs of a task: how far each is, and what begins after it. Pure.

A history is waited for until its end, also when its partition has no more records for now: what follows it is newer.
When its end has been processed, that is committed with its offset (`h=` in the metadata, with the offset at which the
topic begins). Then the task is opened again, with the topic in place of the history.

    reading: the history is an input --end processed and committed--> ended: the topic is the input

A process that runs as a batch leaves it there: it never reads the topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...operators.history.end_marker import without_ends
from ...operators.record import Batch
from ...state.topic_partition import TopicPartition
from ..watermarks.watermarks import NOTHING, InputProgress, seen_in

__all__ = ["HistoryInputs", "inputs_now"]


def inputs_now(
    inputs: Iterable[TopicPartition],
    histories: Mapping[str, str],
    committed: Mapping[TopicPartition, str],
    *,
    batch: bool,
) -> tuple[tuple[TopicPartition, ...], Mapping[TopicPartition, TopicPartition]]:
    """Return the inputs that a task reads now, and those that begin, with their histories.

    `histories` are the topics of histories with the topics after them, `committed` has the metadata of committed
    offsets. A topic with a committed offset has followed its history already.
    """
    inputs = tuple(inputs)
    left: set[TopicPartition] = set()
    begin: dict[TopicPartition, TopicPartition] = {}
    for key in inputs:
        after = (histories.get(key[0], ""), key[1])
        if after not in inputs:
            continue
        has_ended = key in committed and seen_in(committed[key]).begins is not None
        if batch or not (after in committed or has_ended):
            left.add(after)
            continue
        left.add(key)
        if after not in committed:
            begin[after] = key
    return tuple(key for key in inputs if key not in left), begin


class HistoryInputs:
    """The histories among the inputs of one task."""

    def __init__(
        self,
        keys: Iterable[TopicPartition],
        histories: Mapping[str, str],
        seen: Mapping[TopicPartition, InputProgress],
    ) -> None:
        """Take the inputs, and their progress that was committed."""
        self._begins = {key: seen.get(key, NOTHING).begins for key in keys if key[0] in histories}
        """Where the topics begin; None for histories whose end has not arrived."""
        self._behind: dict[TopicPartition, int] = {}
        """The offsets behind the ends that have arrived since."""

    def __contains__(self, key: object) -> bool:
        return key in self._begins

    def awaits(self, key: TopicPartition) -> bool:
        """Return whether an input is a history whose end has not arrived."""
        return key in self._begins and self._begins[key] is None

    def take(self, key: TopicPartition, batch: Batch) -> Batch | None:
        """Return a batch without the ends in it, None if it is empty then."""
        left, ends = without_ends(batch)
        for offset, begins in ends:
            if self.awaits(key):
                self._behind[key], self._begins[key] = offset + 1, begins
        return left

    def ended(self, committed: Mapping[TopicPartition, int]) -> bool:
        """Return whether the end of a history is committed since the task was opened."""
        return any(committed[key] >= behind for key, behind in self._behind.items())

    def mark(self, seen: dict[TopicPartition, InputProgress], positions: Mapping[TopicPartition, int]) -> None:
        """Add to the progress of inputs which histories have been processed to their ends."""
        for key, begins in self._begins.items():
            if begins is not None and positions[key] >= self._behind.get(key, 0):
                seen[key] = seen.get(key, NOTHING)._replace(begins=begins)
