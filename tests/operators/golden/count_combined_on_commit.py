"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Any, Callable, HoldingFold, Iterator, Partial, Record, StateCache


def loop(
    step: HoldingFold,
    records: Iterator[Record[Any, Any]],
    cache: StateCache[Any, Any],
    drops: dict[str, int],
    emit: Callable[[Record[Any, Any]], None],
) -> None:
    touched = cache.mark
    held = step.held
    number = step.number
    for record in records:
        key = record.key
        value = record.value
        if key is None or value is None:
            drops["null key" if key is None else "null value"] += 1
            continue
        timestamp = record.timestamp
        before = entry = cache[key]
        if value.__class__ is Partial:
            if entry is None:
                state = 0
                newest = timestamp
            else:
                newest, state = entry
                if newest < timestamp:
                    newest = timestamp
            (o0,) = value.slots
            state += o0
        else:
            if entry is None:
                state = 0
                newest = timestamp
            else:
                newest, state = entry
                if newest < timestamp:
                    newest = timestamp
            state += 1
        cache[key] = (newest, state)
        touched(key)
        held[key] = (number(), record.headers, record.offset)
        if newest < step.oldest:
            step.oldest = newest
