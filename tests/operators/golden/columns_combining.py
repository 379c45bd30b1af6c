"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import (
    BIG,
    LEAST,
    Any,
    Combine,
    Record,
    Records,
    check_number,
    classes,
    f_x1,
    look_up,
    own_value,
)


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
            cls = value.__class__
            if cls is dict:
                try:
                    x0 = value["amount"]
                except KeyError:
                    (x0,) = look_up(value)
            elif cls in classes:
                try:
                    x0 = value.amount
                except AttributeError:
                    (x0,) = look_up(value)
            else:
                (x0,) = look_up(value)
            x1 = None if value is None else f_x1(own_value(value))
            if x0 is not None and x0.__class__ is not float and not (x0.__class__ is int and LEAST < x0 < BIG):
                check_number(x0)
            if x1 is not None and x1.__class__ is not float and not (x1.__class__ is int and LEAST < x1 < BIG):
                check_number(x1)
        except Exception:
            done += step.flush()
            done.append(Record(key, record.value, timestamp, record.headers, record.offset))
            oldest = step.oldest
            continue
        entry = entry_of(place)
        if entry is None:
            s0_0 = 0
            s1_0 = None
            s2_0 = None
            newest = timestamp
        else:
            _, _, _, _, newest, s0_0, s1_0, s2_0 = entry
            if newest < timestamp:
                newest = timestamp
        s0_0 += 1
        if x0 is not None:
            s1_0 = [x0] if s1_0 is None else s1_0.append(x0) or s1_0
        if x1 is not None:
            s2_0 = x1 if s2_0 is None or x1 > s2_0 or s2_0 != s2_0 else s2_0
        held[place] = (number, key, record.headers, record.offset, newest, s0_0, s1_0, s2_0)
        if timestamp < oldest:
            oldest = timestamp
    step.number, step.oldest = number, oldest
