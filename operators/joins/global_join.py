"""The join of a stream with a global table: each record with the row that its instance has under a key of its choice.

The table is not the step's: it moves on by itself, and a record sees it as it is at that moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import poison
from ..graph.operator import Operator
from ..graph.topology import Rows
from ..record import Record
from ..serdes.value_copies import with_copies

__all__ = ["GlobalJoin"]


class GlobalJoin(Operator):
    """Looks records up. Without `on` the key is the record's own."""

    def __init__(
        self,
        step: str,
        rows: Rows,
        on: Callable[[Any], Any] | None,
        function: Callable[[Any, Any], Any],
        *,
        left: bool,
    ) -> None:
        self._step = step
        self._rows = rows
        self._on = on
        self._function = with_copies(function, first=False)
        self._left = left
        self.drops = {"null key": 0, "null value": 0}
        self.misses = 0
        """Records that found no row."""

    def process(self, records: list[Record[Any, Any]], now: int) -> list[Record[Any, Any]]:
        rows, on, function, left, drops = self._rows, self._on, self._function, self._left, self.drops
        done: list[Record[Any, Any]] = []
        emit = done.append
        rest = iter(records)
        try:
            for record in rest:
                value = record.value
                if value is None:
                    drops["null value"] += 1
                    continue
                key = record.key if on is None else on(value)
                if key is None and not left:
                    drops["null key"] += 1
                    continue
                entry = None if key is None else rows[key]
                if entry is not None:
                    emit(Record(record.key, function(value, entry[1]), record.timestamp, record.headers, record.offset))
                    continue
                self.misses += 1
                if left:
                    emit(Record(record.key, function(value, None), record.timestamp, record.headers, record.offset))
        except Exception as error:
            raise poison(self._step, records, rest, done) from error
        return done
