"""Counts by what they count, added up. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

__all__ = ["summed"]

T = TypeVar("T", bound=Hashable)


def summed(*counts: Mapping[T, int]) -> dict[T, int]:
    """Counts added up by what they count."""
    total: dict[T, int] = {}
    for found in counts:
        for what, count in found.items():
            total[what] = total.get(what, 0) + count
    return total
