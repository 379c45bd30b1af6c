"""The minimum and maximum number of workers of an application."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["WorkerBounds"]


class WorkerBounds(NamedTuple):
    """The minimum and maximum number of workers."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least}:{self.most}"
