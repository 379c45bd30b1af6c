"""The record after the last row of a history, in each partition of its topic.

It has no key and no value, and one header: where the source's own topic begins in this partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..record import Batch, Row

__all__ = ["BEGINNING", "HEADER", "end_row", "without_ends"]

HEADER: Final = "tidemill-history-end"
BEGINNING: Final = -1
"""Stands for the first offset that the partition has when it is read."""


def end_row(partition: int, begins: int) -> Row:
    """Return the record for a partition whose own topic begins at the offset `begins`."""
    return None, None, 0, [(HEADER, str(begins).encode())], partition


def without_ends(batch: Batch) -> tuple[Batch | None, Sequence[tuple[int, int]]]:
    """Return a batch without the ends in it, None if it is empty then, and the ends.

    Each end is its offset, and the offset at which the own topic begins.
    """
    if batch.headers is None:
        return batch, ()
    places = [place for place, found in enumerate(batch.headers) if len(found) == 1 and found[0][0] == HEADER]
    if not places:
        return batch, ()
    ends = [(batch.offsets[place], int(batch.headers[place][0][1] or b"-1")) for place in places]
    kept = [place for place in range(len(batch.offsets)) if place not in set(places)]
    if not kept:
        return None, ends
    left = batch._replace(
        keys=[batch.keys[place] for place in kept],
        values=[batch.values[place] for place in kept],
        timestamps=[batch.timestamps[place] for place in kept],
        offsets=[batch.offsets[place] for place in kept],
        headers=[batch.headers[place] for place in kept],
    )
    return left, ends
