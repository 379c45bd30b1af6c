"""The join of a stream with a table: each record with the current row of its key.

Only the stream produces results. The step stores the rows itself, so that the row a record sees depends on offsets
only, not on the boundaries of batches. If a source record both changes the table and is a record of the stream, the
record sees the change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...state.cache import StateCache
from ..graph.record_loop import RecordLoop, Records
from ..record import Record
from ..serdes.value_copies import with_copies

__all__ = ["StreamTableJoin"]


class StreamTableJoin(RecordLoop):
    """A stream-table join; input 0 is the table, input 1 the stream."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, tuple[int, Any]],
        function: Callable[[Any, Any], Any],
        *,
        left: bool,
    ) -> None:
        super().__init__(step)
        self._cache = cache
        self._function = with_copies(function, first=False)
        self._left = left
        self.drops = {"null key": 0, "null value": 0}
        self.misses = 0
        """Records without a row."""

    def _run(self, records: Iterator[tuple[int, Record[Any, Any]]], done: Records) -> None:
        cache, function, left, drops = self._cache, self._function, self._left, self.drops
        emit = done.append
        for slot, record in records:
            key, value = record.key, record.value
            if slot == 0:
                if key is not None:
                    cache.put(key, None if value is None else (record.timestamp, value))
                continue
            if value is None or (key is None and not left):
                drops["null value" if value is None else "null key"] += 1
                continue
            entry = None if key is None else cache[key]
            if entry is not None:
                emit(Record(key, function(value, entry[1]), record.timestamp, record.headers, record.offset))
                continue
            self.misses += 1
            if left:
                emit(Record(key, function(value, None), record.timestamp, record.headers, record.offset))
