"""The join of a stream with a table: each record with the row that its key has when the record comes.

Only the stream sends results. The step keeps rows of its own, so that what a record sees depends on offsets alone,
wherever the input is cut into batches; where one source record changes the table and comes as a record of the stream
too, the change is seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...state.cache import StateCache
from ..errors import cause_of, poison
from ..graph.operator import Operator
from ..record import Record
from ..serdes.value_copies import with_copies

__all__ = ["StreamTableJoin"]


class StreamTableJoin(Operator):
    """Input 0 is the table, input 1 the stream."""

    def __init__(
        self,
        step: str,
        cache: StateCache[Any, tuple[int, Any]],
        function: Callable[[Any, Any], Any],
        *,
        left: bool,
    ) -> None:
        self._step = step
        self._cache = cache
        self._function = with_copies(function, first=False)
        self._left = left
        self.drops = {"null key": 0, "null value": 0}
        self.misses = 0
        """Records that found no row."""

    def process(self, records: list[tuple[int, Record[Any, Any]]], now: int) -> list[Record[Any, Any]]:
        cache, function, left, drops = self._cache, self._function, self._left, self.drops
        done: list[Record[Any, Any]] = []
        emit = done.append
        rest = iter(records)
        try:
            for slot, record in rest:
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
        except Exception as error:
            failure = poison(self._step, [record for _, record in records], rest, done)
            raise failure from cause_of(failure, error)
        return done
