"""Which partitions have gone silent though they have records.

Nothing in a healthy client makes a partition silent: it delivers records, or the end. Where neither comes for a minute,
the client and the engine may disagree about what is read, and reading the partition again puts that right. Where that
does not help, the client itself has stopped fetching the partition, and is replaced. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

__all__ = ["Reading", "Stalls"]

Key = tuple[str, int]
LOOK_MS = 1_000
LONGEST_MS = 2_000
"""The most that counts of the time between two looks: while the process stood still or worked, nobody listened."""
SILENT_MS = 60_000
AGAIN_MS = 30_000
"""After so long a partition that was read again has not come back."""


class Reading(NamedTuple):
    """How the reading of a partition stands."""

    position: int
    """The next offset to read."""
    end: int
    """The end offset last heard of, negative when none was."""
    waits: bool
    """Whether records of it wait, or it is paused on purpose: then nothing is expected of it."""


class Stalls:
    """Remembers for how long each partition has been silent."""

    def __init__(self) -> None:
        self._silent: dict[Key, int] = {}
        """For how many ms nothing came."""
        self._ends: dict[Key, int] = {}
        """The ends that were met: behind the last record there may be markers of transactions, which no task sees."""
        self._again: set[Key] = set()
        """The partitions that were read again, of which nothing has come since."""
        self._looked: int | None = None

    def heard(self, topic: str, partition: int) -> None:
        """Records of a partition have come."""
        self._silent.pop((topic, partition), None)
        self._again.discard((topic, partition))

    def ended(self, ends: Mapping[Key, int]) -> None:
        """Partitions were read to these ends."""
        for key, end in ends.items():
            self._silent.pop(key, None)
            self._again.discard(key)
            self._ends[key] = end

    def forget(self, keys: Iterable[Key]) -> None:
        """These partitions are not read any more, or from elsewhere."""
        for key in keys:
            self._silent.pop(key, None)
            self._again.discard(key)
            self._ends.pop(key, None)

    def read_again(self, keys: Iterable[Key]) -> None:
        """These partitions, which were silent, are read again from where they were."""
        self._again.update(keys)

    def given_up(self, keys: Iterable[Key]) -> bool:
        """Whether any of these partitions has been read again in vain."""
        return not self._again.isdisjoint(keys)

    def due(self, now: int) -> bool:
        """Whether it is time for a look. `now` in ms."""
        return self._looked is None or now - self._looked >= LOOK_MS

    def look(self, readings: Mapping[Key, Reading], now: int) -> dict[Key, str]:
        """The partitions that have been silent for too long, and what there is to say of each."""
        passed = 0 if self._looked is None else min(now - self._looked, LONGEST_MS)
        self._looked = now
        found: dict[Key, str] = {}
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
