"""Savepoints and histories of streams: there is none while a history is being read. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...operators.errors import ConfigError
from ...state.topic_partition import TopicPartition
from ..plan.plan import Plan
from ..watermarks.watermarks import seen_in

__all__ = ["histories_of", "refuse_histories"]

PIECES: Final = "-history-pieces-repartition"
HISTORY: Final = "-history-repartition"


def histories_of(plan: Plan) -> list[str]:
    """Return the streams of a program that have a history, in words."""
    topics = {topic for part in plan.subtopologies for topic in part.histories.values()}
    return [f"the stream of topic {topic!r} has a history" for topic in sorted(topics)]


def refuse_histories(application: str, committed: Mapping[TopicPartition, tuple[int, str]]) -> None:
    """Raise ConfigError if the inputs of tasks include a history that has not ended.

    `committed` has the offsets of all inputs, with their metadata.
    """
    histories = {topic.removesuffix(PIECES) + HISTORY for topic, _ in committed if topic.endswith(PIECES)}
    for (topic, _), (_, metadata) in sorted(committed.items()):
        if topic in histories and seen_in(metadata).begins is None:
            raise ConfigError(
                f"{application} is still reading a history ({topic}): make a savepoint when its tasks read their "
                "topic; the log says when"
            )
