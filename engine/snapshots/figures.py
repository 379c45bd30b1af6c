"""What has come of a process's snapshots, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

__all__ = ["SnapshotFigures"]


@dataclass(frozen=True)
class SnapshotFigures:
    """What has come of a process's snapshots so far."""

    created: Mapping[str, int] = field(default_factory=dict[str, int])
    """When the newest snapshot that this process took of each task was begun, in ms by the wall clock."""
    sizes: Mapping[str, int] = field(default_factory=dict[str, int])
    """Its bytes."""
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """How long it took."""
    taken: int = 0
    failures: int = 0
    uploaded: int = 0
    """Bytes."""

    def without(self, task: str) -> SnapshotFigures:
        """Forget a task that no longer runs here."""
        return replace(
            self,
            created={name: at for name, at in self.created.items() if name != task},
            sizes={name: size for name, size in self.sizes.items() if name != task},
            seconds={name: seconds for name, seconds in self.seconds.items() if name != task},
        )
