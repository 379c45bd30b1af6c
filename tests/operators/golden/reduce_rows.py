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
    undoing,
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
        old = record.value.old
        new = record.value.new
        timestamp = record.timestamp
        before = entry = cache[key]
        if entry is None and new is None:
            continue
        failure = shown = None
        changed = False
        if entry is None:
            state = None
            given = None
            newest = timestamp
        else:
            newest, state = entry
            given = None
            if newest < timestamp:
                newest = timestamp
        if entry is not None and old is not None:
            value = old
            saved = (state,)
            try:
                if state is None:
                    given = (function(copied(value), value), value)[1]
                else:
                    so_far = own(state)
                    given = function(so_far, value)
                    if given is None:
                        check_unchanged(so_far, own(state))
                state = given if given.__class__ in known else keep(given)
                taken = True
            except Exception:
                taken = False
            (state,) = saved
            given = None
            if taken:
                try:
                    so_far = own(state)
                    given = undoing(so_far, value)
                    if given is None:
                        check_unchanged(so_far, own(state))
                    state = given if given.__class__ in known else keep(given)
                    changed = True
                except Exception as error:
                    (state,) = saved
                    given = None
                    failure = error
        if new is None:
            shown = own(state) if given is None else given
        else:
            value = new
            saved = (state,)
            try:
                if state is None:
                    given = (function(copied(value), value), value)[1]
                else:
                    so_far = own(state)
                    given = function(so_far, value)
                    if given is None:
                        check_unchanged(so_far, own(state))
                state = given if given.__class__ in known else keep(given)
                shown = own(state) if given is None else given
                changed = True
            except Exception as error:
                (state,) = saved
                given = None
                failure = error
                if changed:
                    shown = own(state) if given is None else given
        if changed or failure is None:
            cache[key] = None if state is None else (newest, state)
            touched(key)
            emit(Record(key, shown, newest, record.headers, record.offset))
        if failure is not None:
            raise failure
