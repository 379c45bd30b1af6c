"""Steps that keep one value a key: count, reduce, aggregate, and a table read from a topic.

What they have in common: null keys are dropped and counted; a result carries the newest event time among the records
that made it; a function that gives None deletes the key and sends a tombstone. `Update` values, with the row as it was
before, are sent only where a step downstream asked for them.
"""

from __future__ import annotations

from typing import Any

from ...state.cache import StateCache
from ..errors import cause_of, poison
from ..graph.operator import Operator
from ..record import Record, Update
from .fold import Fold, Loop

__all__ = ["KeyedFold", "TableRows", "keyed_loop"]

Records = list[Record[Any, Any]]

LOOP = """\
def loop(records, cache, drops, emit):
    touched = cache.mark
    for record in records:
        key = record.key
        value = record.value
        if key is None or value is None:
            drops["null key" if key is None else "null value"] += 1
            continue
        before = entry = cache[key]
        if entry is None:
            <start>
            newest = record.timestamp
        else:
            <load>
            timestamp = record.timestamp
            if newest < timestamp:
                newest = timestamp
        <update>
        <show>
        cache[key] = <entry>
        touched(key)
        emit(Record(key, shown, newest, record.headers, record.offset))
"""


def keyed_loop(fold: Fold, *, updates: bool) -> Loop:
    """The loop of a fold a key."""
    return fold.loop("aggregate", LOOP, show=True, updates=updates, Record=Record)


class KeyedFold(Operator):
    """A fold a key. Null values are dropped as null keys are."""

    def __init__(self, step: str, cache: StateCache[Any, Any], loop: Loop) -> None:
        self._step = step
        self._cache = cache
        self._loop = loop
        self.drops = {"null key": 0, "null value": 0}

    def process(self, records: Records, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            self._loop(rest, self._cache, self.drops, done.append)
        except Exception as error:
            failure = poison(self._step, records, rest, done)
            raise failure from cause_of(failure, error)
        return done


class TableRows(Operator):
    """The newest value a key, by offset. A null value deletes."""

    def __init__(self, step: str, cache: StateCache[Any, Any], *, updates: bool) -> None:
        self._step = step
        self._cache = cache
        self._updates = updates
        self.drops = {"null key": 0}

    def process(self, records: Records, now: int) -> Records:
        cache, put, updates = self._cache, self._cache.put, self._updates
        done: Records = []
        emit = done.append
        rest = iter(records)
        try:
            for record in rest:
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
        except Exception as error:
            failure = poison(self._step, records, rest, done)
            raise failure from cause_of(failure, error)
        return done
