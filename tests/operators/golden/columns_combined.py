"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import (
    Any,
    Callable,
    Iterator,
    Partial,
    Record,
    StateCache,
    check_sum,
    classes,
    f_x1,
    look_up,
    numbers,
    own_value,
    taken,
    tried,
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
        if value.__class__ is Partial:
            if entry is None:
                s0_0 = 0
                s1_0 = None
                s2_0 = None
                newest = timestamp
            else:
                newest, s0_0, s1_0, s2_0 = entry
                if newest < timestamp:
                    newest = timestamp
            (
                o0,
                o1,
                o2,
            ) = value.slots
            s0_0 += o0
            for one in o1 or ():
                s1_0 = one if s1_0 is None else s1_0 + one
            if o2 is not None:
                s2_0 = o2 if s2_0 is None or o2 > s2_0 or s2_0 != s2_0 else s2_0
            shown = {"count": s0_0, "total": 0 if s1_0 is None else s1_0, "largest": s2_0}
        else:
            if entry is None:
                s0_0 = 0
                s1_0 = None
                s2_0 = None
                newest = timestamp
            else:
                newest, s0_0, s1_0, s2_0 = entry
                if newest < timestamp:
                    newest = timestamp
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
            s0_0 += 1
            if x0 is not None:
                s1_0 = x0 if s1_0 is None else s1_0 + x0
            if s1_0.__class__ not in numbers:
                check_sum(s1_0)
            if x1.__class__ not in taken:
                tried(x1)
                x1 = own_value(x1)
            if x1 is not None:
                s2_0 = x1 if s2_0 is None or x1 > s2_0 or s2_0 != s2_0 else s2_0
            shown = {"count": s0_0, "total": 0 if s1_0 is None else s1_0, "largest": s2_0}
        cache[key] = (newest, s0_0, s1_0, s2_0)
        touched(key)
        emit(Record(key, shown, newest, record.headers, record.offset))
