"""Records with many rows of a history each, of one partition and in order.

Such a record has no key, and one header with the number of rows. The bytes are those that `History.unpacker` reads.
Rows that cannot be packed are records of their own, as those of other topics.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ..graph.history import PackedRows
from ..record import Batch, Row

__all__ = ["HEADER", "is_packed", "packed_row", "parts_of"]

HEADER: Final = "tidemill-history-rows"


def packed_row(packed: PackedRows) -> Row:
    """Return the record of packed rows."""
    return None, packed.data, packed.newest, [(HEADER, str(packed.number).encode())], packed.partition


def is_packed(row: Row) -> bool:
    """Return whether a record to write has many rows of a history."""
    headers = row[3]
    return headers is not None and len(headers) == 1 and headers[0][0] == HEADER


def parts_of(batch: Batch) -> Iterator[tuple[Batch, int | None]]:
    """Cut a batch of a history into records of packed rows, and what is between them.

    Each part comes with the number of its rows, None for what is between.
    """
    begin = 0
    for place, headers in enumerate(batch.headers or ()):
        if len(headers) == 1 and headers[0][0] == HEADER:
            if begin < place:
                yield _slice(batch, begin, place), None
            yield _slice(batch, place, place + 1), int(headers[0][1] or b"0")
            begin = place + 1
    if begin < len(batch.offsets):
        yield _slice(batch, begin, len(batch.offsets)) if begin else batch, None


def _slice(batch: Batch, begin: int, end: int) -> Batch:
    keys, values = batch.keys[begin:end], batch.values[begin:end]
    return batch._replace(
        keys=keys,
        values=values,
        timestamps=batch.timestamps[begin:end],
        offsets=batch.offsets[begin:end],
        headers=None if batch.headers is None else batch.headers[begin:end],
        size=sum(len(one) for one in (*keys, *values) if one is not None),
    )
