"""Steps that keep one value a key: count, reduce, aggregate, and a table read from a topic.

What they have in common: null keys are dropped and counted; a result carries the newest event time among the records
that made it; a function that returns None deletes the key and sends a tombstone. `Update` values, with the
row as it was before, are sent only where a step downstream asked for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...state.cache import StateCache
from ..graph.record_loop import RecordLoop, Records
from ..graph.result_columns import ResultColumns
from ..record import Record, Update
from .fold import RESULTS, RESULTS_IN_COLUMNS, Fold, FoldLoop

__all__ = ["KeyedFold", "TableRows", "keyed_loop"]

LOOP = """\
<signature>
    touched = cache.mark
    <begin_holding>
    <begin_adding>
    for record in records:
        key = record.key
        value = record.value
        if key is None or value is None:
            drops["null key" if key is None else "null value"] += 1
            continue
        timestamp = record.timestamp
        before = entry = cache[key]
        <fold>
        cache[key] = <entry>
        touched(key)
        <send>
"""

SEND = """\
emit(Record(key, shown, newest, record.headers, record.offset))
"""

ADD = """\
add_key(key)
add_value(shown)
add_time(newest)
add_cause(record)
"""

HOLD = """\
held[key] = (number(), record.headers, record.offset)
if newest < step.oldest:
    step.oldest = newest
"""


def keyed_loop(
    fold: Fold, *, updates: bool, holding: bool = False, columns: bool = False, combined: bool = False
) -> FoldLoop:
    """Return the loop of a fold per key.

    With `holding` it is that of a `HoldingFold`, with `columns` its results are `ResultColumns`. With `combined`, its
    records may be combined ones.
    """
    parts: dict[str, str | tuple[str, ...]] = {
        "step": ("step: HoldingFold,",) if holding else (),
        "begin_holding": ("held = step.held", "number = step.number") if holding else (),
        "begin_adding": ("add_key, add_value, add_time, add_cause = results.adding",) if columns else (),
        "results": RESULTS_IN_COLUMNS if columns else RESULTS,
        "send": HOLD if holding else ADD if columns else SEND,
    }
    return fold.loop("aggregate", LOOP, parts, {}, show=not holding, updates=updates, combined=combined)


class KeyedFold(RecordLoop):
    """A fold per key. Null values are dropped as null keys are."""

    def __init__(self, step: str, cache: StateCache[Any, Any], loop: FoldLoop, *, columns: bool = False) -> None:
        super().__init__(step)
        self._cache = cache
        self._loop = loop
        self._columns = columns
        self.drops = {"null key": 0, "null value": 0}

    def _no_results(self) -> Any:
        return ResultColumns() if self._columns else []

    def _run(self, records: Iterator[Record[Any, Any]], done: Any) -> None:
        self._loop(records, self._cache, self.drops, done if self._columns else done.append)


class TableRows(RecordLoop):
    """The newest value per key, by offset. A null value deletes."""

    def __init__(self, step: str, cache: StateCache[Any, Any], *, updates: bool) -> None:
        super().__init__(step)
        self._cache = cache
        self._updates = updates
        self.drops = {"null key": 0}

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        cache, put, updates, emit = self._cache, self._cache.put, self._updates, done.append
        for record in records:
            key, value = record.key, record.value
            if key is None:
                self.drops["null key"] += 1
                continue
            if updates:
                entry = cache[key]
                old = None if entry is None else entry[1]
                put(key, None if value is None else (record.timestamp, value))
                emit(Record(key, Update(old, value), record.timestamp, record.headers, record.offset))
            else:
                put(key, None if value is None else (record.timestamp, value))
                emit(record)
