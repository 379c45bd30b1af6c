"""The names of rows, and values as bytes, in targets that keep a row under a name."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec

from ...operators.record import Windowed
from ...operators.serdes.json import check_finite, to_builtin

__all__ = ["bytes_of", "encode", "row_name"]

encode: Final = msgspec.json.Encoder(enc_hook=to_builtin).encode


def row_name(key: Any) -> bytes:
    """Return the name of the row of a key, with `:start:end` for a window."""
    if not isinstance(key, Windowed):
        return bytes_of(key)
    return bytes_of(key.key) + f":{key.start}:{key.end}".encode()  # pyright: ignore[reportUnknownMemberType]


def bytes_of(value: Any) -> bytes:
    """Return bytes and texts as they are, everything else as JSON.

    Raises ValueError for NaN and infinities.
    """
    if isinstance(value, bytes):
        return value
    if isinstance(value, str | UUID):
        return str(value).encode()
    check_finite(value)
    return encode(value)
