"""Debezium's JSON as a program writes it: without a schema, with times and decimals as text."""

from __future__ import annotations

import base64
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from ..serdes.json import to_builtin
from .avro_changes import outgoing_change
from .change import RowChange
from .meanings import DECIMALS
from .rows import RowModel

__all__ = ["change_writer", "row_data"]

ENCODE = msgspec.json.Encoder().encode


def row_data(rows: RowModel) -> Callable[[Any], Any]:
    """Return the function from a row to its columns, as JSON has them."""
    decimals = {name: column.scale or 0 for name, column in rows.declared.items() if (column.meaning or "") in DECIMALS}

    def columns(row: Any) -> Any:
        if row is None:
            return None
        data: Any = msgspec.to_builtins(row, enc_hook=to_builtin)
        for name, scale in decimals.items():
            if data.get(name) is not None:
                digits = int(Decimal(data[name]).scaleb(scale))
                raw = digits.to_bytes(digits.bit_length() // 8 + 1, "big", signed=True)
                data[name] = base64.b64encode(raw).decode()
        return data

    return columns


def change_writer(rows: RowModel, title: str) -> Callable[[Any], bytes]:
    """Return the function from a change, or a row of a table, to JSON."""
    columns = row_data(rows)

    def encode(value: Any) -> bytes:
        change: RowChange[Any] = outgoing_change(value, rows.model, title)
        before = columns(change.before) if change.before is not None else change.before_columns
        envelope: dict[str, Any] = {
            "before": before,
            "after": columns(change.after),
            "source": change.source,
            "transaction": change.transaction,
            "op": change.op,
            "ts_ms": change.ts_ms,
        }
        if change.message is not None:
            envelope["message"] = change.message
        return ENCODE(envelope)

    return encode
