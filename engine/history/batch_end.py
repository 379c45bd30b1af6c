"""The end of a batch: `tidemill run --batch` processes what is there, and ends.

A batch reads the histories of streams that have one, and other input topics up to the ends that they have when the
process starts. It is done when all of that, and everything that followed from it in internal topics, is committed by
the group. Each process finds this out for itself: the committed offsets are read before the ends of the internal
topics, so nothing was written to these in between that is not processed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from ...operators.graph.topology import Source
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..config.settings import Settings
from ..errors import Retryable
from ..group.offsets import committed_offsets
from ..kafka.options import group_options
from ..kafka.topics import Topics
from ..plan.plan import Plan

__all__ = ["BatchEnd", "bounded_inputs", "internal_inputs", "is_done"]

LOG = logging.getLogger("tidemill.loop")
PAUSE_MS: Final = 500
ANSWER_SECONDS: Final = 5.0


class BatchEnd:
    """Decides when the process of a batch ends."""

    def __init__(self, plan: Plan, settings: Settings, topics: Topics, clock: Clock) -> None:
        """Look where the input topics end now. Raises Retryable or Fatal."""
        self._settings = settings
        self._topics = topics
        self._clock = clock
        bounded = bounded_inputs(plan)
        self._internal = internal_inputs(plan)
        begins = topics.begins(bounded)
        self.ends: Mapping[TopicPartition, int] = topics.ends(bounded, committed=True)
        """Where the input topics end for this process."""
        self._wanted = {key: end for key, end in self.ends.items() if end > begins[key]}
        self._asked = clock.monotonic()
        self.reached = False
        """Whether the batch is done."""

    def done(self, resting: Callable[[], bool]) -> bool:
        """Return whether the batch is done.

        `resting` says whether this process has nothing to do or to commit.
        """
        now = self._clock.monotonic()
        if self.reached or now - self._asked < PAUSE_MS or not resting():
            return self.reached
        self._asked = now
        options, group = group_options(self._settings), self._settings.app_id
        try:
            found = committed_offsets(options, group, [*self._wanted, *self._internal], ANSWER_SECONDS)
            committed = {key: offset for key, (offset, _) in found.items()}
            self.reached = is_done(committed, self._wanted, self._topics.ends(self._internal, committed=False))
        except Retryable as failure:
            LOG.info("whether the batch is done is not known yet: %s", failure)
        return self.reached


def is_done(
    committed: Mapping[TopicPartition, int],
    wanted: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> bool:
    """Return whether all is committed up to the ends.

    `wanted` are those of input topics, `ends` those of internal ones.
    """
    return all(committed.get(key, 0) >= end for key, end in (*wanted.items(), *ends.items()))


def bounded_inputs(plan: Plan) -> list[TopicPartition]:
    """Return the partitions of input topics that a batch reads: none of topics after a history."""
    return [
        (topic, partition)
        for part in plan.subtopologies
        for topic, node in part.inputs
        if isinstance(node, Source) and topic not in {*part.histories, *part.histories.values()}
        for partition in range(part.topic_partitions[topic])
    ]


def internal_inputs(plan: Plan) -> list[TopicPartition]:
    """Return the partitions of internal topics that tasks read."""
    internal = {topic.name: topic.partitions for topic in plan.internal if topic.kind == "repartition"}
    return [(topic, partition) for topic, count in internal.items() for partition in range(count)]
