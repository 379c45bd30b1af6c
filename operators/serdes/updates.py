"""Updates of tables: the row as it was and as it is, in one value, and as bytes on its way through a topic.

What a row was is what the steps downstream were told, which under `tm.skip` is not always what the table has: where a
step fails for a new row, it tells that there is no row any more, so the row before is taken back. With the next change
of the row the step fails again for what the row was; that one was never there for those downstream.

00 + new                   there was no row          01 + old     there is none any more
02 + length of old (4 bytes) + old + new
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any

from ..record import Update
from .base import Serde

__all__ = ["UpdateSerde", "told"]

_LENGTH = Struct(">I")


def told(function: Callable[[Any], Any], row: Any) -> Any:
    """What the function gave for what a row was; None where there was no row or the function failed for it."""
    if row is None:
        return None
    try:
        return function(row)
    except Exception:
        return None


class UpdateSerde:
    """Updates of rows with this serde. At least one of the two rows is there."""

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
