"""The join of a stream with rows that it does not store: each record with the row of a key.

The rows of a global table belong to the process: they are updated concurrently, and a record is joined with the row of
that moment. The rows of a table in the same task are in the store of the table's step
(`building/stored_rows.py`): a record is joined with the row that the changes before it have left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..graph.record_loop import RecordLoop, Records
from ..graph.topology import Rows
from ..record import Record
from ..serdes.value_copies import with_copies

__all__ = ["LookupJoin"]


class LookupJoin(RecordLoop):
    """A join with rows by key; without `on`, the key is that of the record.

    `row_of` returns the row in an entry.
    """

    def __init__(
        self,
        step: str,
        rows: Rows,
        row_of: Callable[[Any], Any],
        on: Callable[[Any], Any] | None,
        function: Callable[[Any, Any], Any],
        *,
        left: bool,
    ) -> None:
        super().__init__(step)
        self._rows = rows
        self._row_of = row_of
        self._on = on
        self._function = with_copies(function, first=False)
        self._left = left
        self.drops = {"null key": 0, "null value": 0}
        self.misses = 0
        """Records without a row."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        rows, row_of, on, function, left = self._rows, self._row_of, self._on, self._function, self._left
        drops, emit = self.drops, done.append
        for record in records:
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
                row = row_of(entry)
                emit(Record(record.key, function(value, row), record.timestamp, record.headers, record.offset))
                continue
            self.misses += 1
            if left:
                emit(Record(record.key, function(value, None), record.timestamp, record.headers, record.offset))
