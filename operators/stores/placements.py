"""How the entries of stores find their tasks: the keys in encoded keys, for each layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...state.codec import Placement, newest
from ..serdes.base import Serde

__all__ = ["each_newest", "placed", "plain_placement"]


def placed(
    key: Serde[Any],
    place: Callable[[bytes], bytes | None],
    merged: Callable[[Any, Sequence[Any]], Any] = newest,
) -> Placement:
    """Return the placement of entries by the key that `place` finds in an encoded key."""
    return Placement(lambda raw, value: place(raw), getattr(key, "suffix", 0), merged)


def plain_placement(key: Serde[Any]) -> Placement:
    """Return the placement of entries whose encoded keys are those of records."""
    return placed(key, lambda raw: raw)


def each_newest(slot: Any, entries: Sequence[Any]) -> Any:
    """Return the largest of each part of some entries."""
    return tuple(map(max, zip(*entries, strict=True)))
