"""From results in columns to rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..record import OutgoingColumns
from ..serdes.base import Serde, column_encoder
from ..serdes.keys import WindowedKey
from .result_columns import ResultColumns

__all__ = ["ColumnRows"]


class ColumnRows:
    """The rows of results that are written as they are, under their own keys."""

    def __init__(self, key: Serde[Any], values: Callable[[list[Any]], list[bytes | None]]) -> None:
        """`key` is the serde of the keys, that of windowed ones if the results are of windows."""
        windowed: Any = key
        self._windowed = isinstance(windowed, WindowedKey)
        self._keys = column_encoder(windowed.inner if self._windowed else key)
        self._values = values

    def rows(self, results: ResultColumns) -> OutgoingColumns:
        """Return one row per result. The partition of a windowed key is that of the key in it."""
        values, times = self._values(results.values), results.times
        headers: Any = [cause.headers for cause in results.causes]
        headers = [list(one) or None for one in headers] if any(headers) else None
        keys: list[Any] = self._keys(results.keys)
        if not self._windowed:
            return OutgoingColumns(keys, values, times, headers)
        return OutgoingColumns(WindowedKey.with_starts(keys, results.starts), values, times, headers, keys)
