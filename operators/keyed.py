"""Steps that keep one value a key: count, reduce, aggregate, and a table read from a topic.

What they have in common: null keys are dropped and counted; a result carries the newest event time among the records
that made it; a function that gives None deletes the key and sends a tombstone. `Update` values, with the row as it was
before, are sent only where a step downstream asked for them.
"""

from __future__ import annotations

from operator import length_hint
from typing import Any

from ..state.cache import StateCache
from .errors import RecordError
from .fold import Fold
from .record import Record, Update

__all__ = ["KeyedFold", "TableRows"]

Records = list[Record[Any, Any]]


class KeyedFold:
    """A fold a key. Null values are dropped as null keys are."""

    def __init__(self, step: str, cache: StateCache[Any, Any], fold: Fold, *, updates: bool) -> None:
        self._step = step
        self._cache = cache
        self._fold = fold
        self._updates = updates
        self.drops = {"null key": 0, "null value": 0}

    def process(self, records: Records, now: int) -> Records:
        cache, touched = self._cache, self._cache.dirty_add
        step = self._fold.choose(records[0].value)
        result, updates = self._fold.result, self._updates
        done: Records = []
        emit = done.append
        rest = iter(records)
        record = records[0]
        try:
            for record in rest:
                key, value = record.key, record.value
                if key is None or value is None:
                    self.drops["null key" if key is None else "null value"] += 1
                    continue
                timestamp = record.timestamp
                entry = cache[key]
                if entry is None:
                    state = step(None, value)
                else:
                    newest, state = entry
                    if newest > timestamp:
                        timestamp = newest
                    state = step(state, value)
                shown = state if result is None or state is None else result(state)
                if updates:
                    old = None if entry is None else entry[1] if result is None else result(entry[1])
                    shown = Update(old, shown)
                cache[key] = None if state is None else (timestamp, state)
                touched(key)
                emit(Record(key, shown, timestamp, record.headers, record.offset))
        except Exception as error:
            raise RecordError(self._step, len(records) - length_hint(rest) - 1, record, done) from error
        return done


class TableRows:
    """The newest value a key, by offset. A null value deletes."""

    def __init__(self, step: str, cache: StateCache[Any, Any], *, updates: bool) -> None:
        self._step = step
        self._cache = cache
        self._updates = updates
        self.drops = {"null key": 0}

    def process(self, records: Records, now: int) -> Records:
        cache, put = self._cache, self._cache.put
        updates = self._updates
        done: Records = []
        emit = done.append
        rest = iter(records)
        record = records[0]
        try:
            for record in rest:
                key, value = record.key, record.value
                if key is None:
                    self.drops["null key"] += 1
                    continue
                if updates:
                    entry = cache[key]
                    old = None if entry is None else entry[1]
                    emit(Record(key, Update(old, value), record.timestamp, record.headers, record.offset))
                else:
                    emit(record)
                put(key, None if value is None else (record.timestamp, value))
        except Exception as error:
            raise RecordError(self._step, len(records) - length_hint(rest) - 1, record, done) from error
        return done
