"""The least and the most workers that an application is to have."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Bounds"]


class Bounds(NamedTuple):
    """The least and the most workers that are wanted."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.least}:{self.most}"
