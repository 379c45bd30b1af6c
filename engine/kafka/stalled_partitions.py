"""Detects partitions that have gone silent although they have records.

A healthy client delivers records of a partition, or its end. If neither arrives for a minute, the client and the engine
may disagree about what is read, and reading the partition again corrects that. If that does not help, the client itself
has stopped fetching the partition, and is replaced. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from ...state.topic_partition import TopicPartition

__all__ = ["PartitionProgress", "StalledRestart", "StallDetector"]

NAMED = 5
"""The maximum number of partitions that a message names."""
LOOK_MS = 1_000
LONGEST_MS = 2_000
"""The maximum time between two checks that counts: while the process was suspended or busy, it did not poll."""
SILENT_MS = 60_000
AGAIN_MS = 30_000
"""The time after which a partition that was read again counts as stalled once more."""


class PartitionProgress(NamedTuple):
    """The reading state of a partition."""

    position: int
    """The next offset to read."""
    end: int
    """The last known end offset, negative if none is known."""
    waits: bool
    """Whether records of it are queued, or it is paused on purpose: then no records are expected."""


class StalledRestart(NamedTuple):
    """What to do about partitions that have been silent for too long."""

    offsets: Mapping[TopicPartition, int]
    """The partitions to read again, and from which offsets."""
    new_client: bool
    """True if a new client must take over: `offsets` has all partitions that are read."""
    message: str


class StallDetector:
    """Tracks how long each partition has been silent."""

    def __init__(self) -> None:
        self._silent: dict[TopicPartition, int] = {}
        """The time without records, in ms."""
        self._ends: dict[TopicPartition, int] = {}
        """The ends that were reached: transaction markers, which no task sees, may follow the last record."""
        self._again: set[TopicPartition] = set()
        """The partitions that were read again and have been silent since."""
        self._looked: int | None = None

    def note(self, topic: str, partition: int) -> None:
        """Note that records of a partition have arrived."""
        self._silent.pop((topic, partition), None)
        self._again.discard((topic, partition))

    def ended(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note that partitions were read to these ends."""
        for key, end in ends.items():
            self._silent.pop(key, None)
            self._again.discard(key)
            self._ends[key] = end

    def forget(self, keys: Iterable[TopicPartition]) -> None:
        """Forget partitions that are no longer read, or are read from another offset."""
        for key in keys:
            self._silent.pop(key, None)
            self._again.discard(key)
            self._ends.pop(key, None)

    def due(self, now: int) -> bool:
        """Return whether it is time for a check. `now` in ms."""
        return self._looked is None or now - self._looked >= LOOK_MS

    def restart(self, readings: Mapping[TopicPartition, PartitionProgress], now: int) -> StalledRestart | None:
        """Return what to do now about partitions that have records and deliver none, or None.

        `readings` are all partitions that are read, `now` is in ms. The caller carries out the result.
        """
        stalled = self.look(readings, now)
        if not stalled:
            return None
        new_client = not self._again.isdisjoint(stalled)
        restarted = readings if new_client else stalled
        self.forget(restarted)
        self._again.update(stalled)
        then = (
            "reading again has not helped: a new Kafka client takes over"
            if new_client
            else "the client reads again from there"
        )
        offsets = {key: readings[key].position for key in restarted}
        return StalledRestart(offsets, new_client, f"{listed(stalled.values())}; {then}")

    def look(self, readings: Mapping[TopicPartition, PartitionProgress], now: int) -> dict[TopicPartition, str]:
        """Return the partitions that have been silent for too long, each with a description."""
        passed = 0 if self._looked is None else min(now - self._looked, LONGEST_MS)
        self._looked = now
        found: dict[TopicPartition, str] = {}
        for key, one in readings.items():
            read = max(one.position, self._ends.get(key, 0))
            if one.waits or 0 <= one.end <= read:
                self._silent.pop(key, None)
                continue
            silent = self._silent[key] = self._silent.get(key, 0) + passed
            if silent >= (AGAIN_MS if key in self._again else SILENT_MS):
                unread = "its end is not known" if one.end < 0 else f"{one.end - read:,} records are unread"
                found[key] = (
                    f"topic {key[0]!r}, partition {key[1]}: nothing came for {silent // 1000} s at offset {read}, "
                    f"though {unread}"
                )
        return found


def listed(places: Collection[str]) -> str:
    """Return the first few of them, and the number of the others."""
    more = len(places) - NAMED
    return "; ".join([*list(places)[:NAMED], *([f"and {more} more partitions"] if more > 0 else [])])
