"""Merges lists of records in front of a step, and concatenates the results of several calls."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

__all__ = ["concatenated", "merged_inputs"]

Records = list[Any]
by_offset = attrgetter("offset")


def merged_inputs(inputs: Sequence[int], slots: Sequence[Records | None], *, tagged: bool) -> Records | None:
    """Merge the slots that a step reads, in order of the source offsets that caused the records.

    A `tagged` record comes with the number of its input.
    """
    if len(inputs) == 1:
        records = slots[inputs[0]]
        if records and tagged:
            return [(0, record) for record in records]
        return records
    full = [(slot, records) for slot, index in enumerate(inputs) if (records := slots[index])]
    if not full:
        return None
    if tagged:
        pairs = [(slot, record) for slot, records in full for record in records]
        if len(full) > 1:
            pairs.sort(key=lambda pair: pair[1].offset)
        return pairs
    if len(full) == 1:
        return full[0][1]
    merged = [record for _, records in full for record in records]
    merged.sort(key=by_offset)
    return merged


def concatenated(ports: int, parts: Sequence[Any]) -> Any:
    """Return the results of several calls of a step as if it had been one call."""
    if len(parts) == 1:
        return parts[0]
    if ports == 1:
        return [record for part in parts for record in part]
    return [[record for part in parts for record in part[port]] for port in range(ports)]
