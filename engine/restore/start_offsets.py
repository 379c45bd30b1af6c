"""Where an input begins that the group has no committed offset for.

A source says it in words: `earliest`, `latest`, `24h ago`, or a moment. Repartition topics begin at their beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Protocol

from ...operators.graph.topology import Source
from ...operators.time.durations import parse_duration

__all__ = ["Log", "start_of", "starting_offsets"]

Key = tuple[str, int]


class Log(Protocol):
    """What is asked of topics."""

    def begins(self, keys: Iterable[Key]) -> dict[Key, int]: ...
    def ends(self, keys: Iterable[Key], *, committed: bool) -> dict[Key, int]: ...
    def at(self, keys: Iterable[Key], moment: datetime) -> dict[Key, int]: ...


def start_of(start: str | datetime, now: int) -> str | datetime:
    """A source's `start` as `earliest`, `latest` or a moment; `now` in ms is what "ago" counts from."""
    if isinstance(start, str) and start.endswith(" ago"):
        moment = datetime.fromtimestamp(now / 1000, timezone.utc)
        return moment - timedelta(milliseconds=parse_duration(start.removesuffix(" ago")))
    return start


def starting_offsets(fresh: Mapping[Key, Source | None], topics: Log, now: int) -> dict[Key, int]:
    """The first offsets to read; a source of None stands for an internal topic."""
    groups: dict[str | datetime, list[Key]] = {}
    for key, source in fresh.items():
        start = "earliest" if source is None else start_of(source.start, now)
        groups.setdefault(start, []).append(key)
    found: dict[Key, int] = {}
    for start, keys in groups.items():
        if isinstance(start, datetime):
            found.update(topics.at(keys, start))
        elif start == "latest":
            found.update(topics.ends(keys, committed=True))
        else:
            found.update(topics.begins(keys))
    return found
