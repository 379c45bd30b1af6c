"""What has come of the writes to targets, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["TargetFigures"]


@dataclass(frozen=True)
class TargetFigures:
    """What has come of a process's writes to targets so far, by sink."""

    written: Mapping[str, int] = field(default_factory=dict[str, int])
    """Records."""
    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attempts that failed because a target was unavailable."""
    unavailable: Mapping[str, int] = field(default_factory=dict[str, int])
    """Since when the target of a task has been unavailable, in ms by the wall clock; by sink and partition."""

    def wrote(self, sink: str, records: int) -> TargetFigures:
        """Add records that were written."""
        return replace(self, written={**self.written, sink: self.written.get(sink, 0) + records})

    def failed(self, sink: str, partition: int, now: int) -> TargetFigures:
        """Count an attempt that failed at `now`."""
        place = f"{sink}/{partition}"
        since = {**self.unavailable, place: self.unavailable.get(place, now)}
        return replace(self, failures={**self.failures, sink: self.failures.get(sink, 0) + 1}, unavailable=since)

    def available(self, sink: str, partition: int) -> TargetFigures:
        """Note that a target can be written again, or is not written by this process any more."""
        place = f"{sink}/{partition}"
        if place not in self.unavailable:
            return self
        return replace(self, unavailable={name: at for name, at in self.unavailable.items() if name != place})

    def seconds_unavailable(self, now: int) -> dict[str, float]:
        """Return for how long the target of each sink has been unavailable, at most over its tasks."""
        longest = dict.fromkeys((*self.written, *self.failures), 0.0)
        for place, since in self.unavailable.items():
            sink = place.rpartition("/")[0]
            longest[sink] = max(longest.get(sink, 0.0), (now - since) / 1000)
        return longest
