"""Updates of tables: the old and the new row in one value, and their bytes in a topic.

The old row is what the steps downstream have received, which under `tm.skip` may differ from the row of the table: if a
step fails for a new row, it sends a deletion, so the previous row is deleted downstream. With the next change of the
row, the step fails again for the old row, which never existed downstream.

00 + new                   there was no row          01 + old     the row is deleted
02 + length of old (4 bytes) + old + new
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from ..record import Update
from .base import Serde

__all__ = ["UpdateSerde", "old_result"]

_LENGTH = Struct(">I")


def old_result(function: Callable[[Any], Any], row: Any) -> Any:
    """Return the function's result for the old row; None if there is none or it failed."""
    if row is None:
        return None
    try:
        return function(row)
    except Exception:
        return None


class UpdateSerde:
    """The serde of updates, given the serde of rows; at least one of the two rows exists."""

    def __init__(self, row: Serde[Any]) -> None:
        self.row = row

    def encode(self, update: Update[Any], /) -> bytes:
        old, new, encode = update.old, update.new, self.row.encode
        if old is None:
            return b"\x00" + encode(new)
        if new is None:
            return b"\x01" + encode(old)
        before = encode(old)
        return b"\x02" + _LENGTH.pack(len(before)) + before + encode(new)

    def decode(self, data: bytes, /) -> Update[Any]:
        kind, decode = data[:1], self.row.decode
        if kind == b"\x00":
            return Update(None, decode(data[1:]))
        if kind == b"\x01":
            return Update(decode(data[1:]), None)
        if kind != b"\x02" or len(data) < 5:
            raise ValueError(f"an update of a table cannot begin with {data[:5].hex() or 'nothing'}")
        end = 5 + _LENGTH.unpack_from(data, 1)[0]
        return Update(decode(data[5:end]), decode(data[end:]))

    def __repr__(self) -> str:
        return f"updates({self.row!r})"
