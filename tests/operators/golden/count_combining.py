"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Any, Combine, Record, Records


def loop(step: Combine, records: Records, keys: list[Any], values: list[Any], done: Records) -> None:
    held, number, oldest = step.held, step.number, step.oldest
    plain, place_of, entry_of = step.plain, step.place_of, step.held.get
    for record, key, value in zip(records, keys, values, strict=True):
        number += 1
        timestamp = record.timestamp
        try:
            if key is None or value is None:
                raise ValueError
            place = key if key.__class__ in plain else place_of(key)
        except Exception:
            done += step.flush()
            done.append(Record(key, record.value, timestamp, record.headers, record.offset))
            oldest = step.oldest
            continue
        entry = entry_of(place)
        if entry is None:
            state = 0
            newest = timestamp
        else:
            _, _, _, _, newest, state = entry
            if newest < timestamp:
                newest = timestamp
        state += 1
        held[place] = (number, key, record.headers, record.offset, newest, state)
        if timestamp < oldest:
            oldest = timestamp
    step.number, step.oldest = number, oldest
