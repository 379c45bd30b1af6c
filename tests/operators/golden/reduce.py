"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import (
    Any,
    Callable,
    Iterator,
    Record,
    StateCache,
    check_unchanged,
    copied,
    function,
    keep,
    known,
    own,
)


def loop(
    records: Iterator[Record[Any, Any]],
    cache: StateCache[Any, Any],
    drops: dict[str, int],
    emit: Callable[[Record[Any, Any]], None],
) -> None:
    touched = cache.mark
    for record in records:
        key = record.key
        value = record.value
        if key is None or value is None:
            drops["null key" if key is None else "null value"] += 1
            continue
        timestamp = record.timestamp
        before = entry = cache[key]
        if entry is None:
            state = None
            given = None
            newest = timestamp
        else:
            newest, state = entry
            given = None
            if newest < timestamp:
                newest = timestamp
        if state is None:
            given = (function(copied(value), value), value)[1]
        else:
            so_far = own(state)
            given = function(so_far, value)
            if given is None:
                check_unchanged(so_far, own(state))
        state = given if given.__class__ in known else keep(given)
        shown = own(state) if given is None else given
        cache[key] = None if state is None else (newest, state)
        touched(key)
        emit(Record(key, shown, newest, record.headers, record.offset))
