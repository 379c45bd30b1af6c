"""What has come of calls, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["CallFigures"]


@dataclass(frozen=True)
class CallFigures:
    """What has come of a process's calls so far, by step."""

    failures: Mapping[str, int] = field(default_factory=dict[str, int])
    """Attempts that failed."""
    open_since: Mapping[str, int | None] = field(default_factory=dict[str, "int | None"])
    """Since when each circuit has been open, in ms by the wall clock; None for one that is closed."""

    def seconds_open(self, now: int) -> dict[str, float]:
        """Return for how long each circuit has been open; 0 for one that is closed."""
        return {step: 0.0 if since is None else (now - since) / 1000 for step, since in self.open_since.items()}
