"""Values in the types of JSON, and rows as flat columns. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

from ...operators.graph.store_rows import StoreRow
from ...operators.record import Windowed
from ...operators.serdes.json import to_builtin

__all__ = ["as_text", "flat", "nested", "plain"]

NATIVE: Final = (bytes, dt.datetime, dt.date)
"""Types that columns may have and JSON does not."""


def plain(value: Any, *, native: bool = False) -> Any:
    """Return a value in JSON types; values of types that JSON has no form for become text.

    With `native`, bytes, dates and times stay as they are.
    """
    try:
        return msgspec.to_builtins(value, str_keys=True, enc_hook=_hook, builtin_types=NATIVE if native else ())
    except (TypeError, RecursionError):
        return repr(value)


def _hook(value: Any) -> Any:
    try:
        return to_builtin(value)
    except TypeError:
        return repr(value)


def nested(row: StoreRow) -> dict[str, Any]:
    """Return a row as one JSON object: key, window, further columns, value, timestamp."""
    window, key = _windowed(row.key)
    whole = {"key": plain(key), **window, **{name: plain(part) for name, part in row.columns.items()}}
    if row.value is not msgspec.UNSET:
        whole["value"] = plain(row.value)
    if row.timestamp is not None:
        whole["timestamp"] = row.timestamp
    return whole


def flat(row: StoreRow) -> dict[str, Any]:
    """Return a row as columns, in which the fields of keys and values are columns of their own.

    They are called `key_<field>` and `value_<field>`.
    """
    window, key = _windowed(row.key)
    columns = _fields("key", key) | window
    columns |= {name: plain(part, native=True) for name, part in row.columns.items()}
    if row.value is not msgspec.UNSET and row.value is not None:
        columns |= _fields("value", row.value)
    if row.timestamp is not None:
        columns["timestamp"] = row.timestamp
    return columns


def as_text(value: Any) -> str:
    """Return a value of JSON types as JSON text."""
    return msgspec.json.encode(value, enc_hook=repr).decode()


def _windowed(key: Any) -> tuple[dict[str, Any], Any]:
    if not isinstance(key, Windowed):
        return {}, key
    windowed = cast("Windowed[Any]", key)
    return {"window_start": windowed.start, "window_end": windowed.end}, windowed.key


def _fields(name: str, value: Any) -> dict[str, Any]:
    found = plain(value, native=True)
    if isinstance(found, Mapping) and found:
        fields = cast("Mapping[str, Any]", found)
        return {f"{name}_{field}": part for field, part in fields.items()}
    return {name: found}
