"""The start offsets of inputs without a committed offset.

A source specifies its start as `earliest`, `latest`, `24h ago`, or a moment. Repartition topics are read from the
beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Protocol

from ...operators.graph.topology import Source
from ...operators.time.durations import parse_duration
from ...state.topic_partition import TopicPartition

__all__ = ["TopicOffsets", "start_of", "starting_offsets"]


class TopicOffsets(Protocol):
    """The queries on topics that are used here."""

    def begins(self, keys: Iterable[TopicPartition]) -> dict[TopicPartition, int]: ...
    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> dict[TopicPartition, int]: ...
    def at(self, keys: Iterable[TopicPartition], moment: datetime) -> dict[TopicPartition, int]: ...


def start_of(start: str | datetime, now: int) -> str | datetime:
    """Return `earliest`, `latest` or a moment; "ago" is relative to `now` in ms."""
    if isinstance(start, str) and start.endswith(" ago"):
        moment = datetime.fromtimestamp(now / 1000, timezone.utc)
        return moment - timedelta(milliseconds=parse_duration(start.removesuffix(" ago")))
    return start


def starting_offsets(
    fresh: Mapping[TopicPartition, Source | int | None], topics: TopicOffsets, now: int
) -> dict[TopicPartition, int]:
    """Return the first offsets to read, by their sources or as given; None is the beginning."""
    groups: dict[str | datetime, list[TopicPartition]] = {}
    found = {key: source for key, source in fresh.items() if isinstance(source, int)}
    for key, source in fresh.items():
        if isinstance(source, int):
            continue
        start = "earliest" if source is None else start_of(source.start, now)
        groups.setdefault(start, []).append(key)
    for start, keys in groups.items():
        if isinstance(start, datetime):
            found.update(topics.at(keys, start))
        elif start == "latest":
            found.update(topics.ends(keys, committed=True))
        else:
            found.update(topics.begins(keys))
    return found
