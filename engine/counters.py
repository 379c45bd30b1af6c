"""Figures combined by what they count. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["largest", "summed"]

T = TypeVar("T", bound=Hashable)


def summed(*counts: Mapping[T, int]) -> dict[T, int]:
    """Return the sums of counts, by what they count."""
    total: dict[T, int] = {}
    for found in counts:
        for what, count in found.items():
            total[what] = total.get(what, 0) + count
    return total


def largest(*figures: Mapping[T, int]) -> dict[T, int]:
    """Return the largest of all figures, by what they count."""
    found: dict[T, int] = {}
    for some in figures:
        for what, figure in some.items():
            found[what] = max(found.get(what, figure), figure)
    return found
