"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Entry, Sequence, check_unchanged, fresh, keep, known, merge_function, own


def merge(entries: Sequence[Entry]) -> Entry | None:
    _, state = entries[0]
    given = None
    o0 = state
    state = None
    so_far = fresh() if state is None else own(state)
    given = merge_function(so_far, own(o0))
    if given is None:
        check_unchanged(so_far, fresh() if state is None else own(state))
    state = given if given.__class__ in known else keep(given)
    for other in entries[1:]:
        _, o0 = other
        so_far = fresh() if state is None else own(state)
        given = merge_function(so_far, own(o0))
        if given is None:
            check_unchanged(so_far, fresh() if state is None else own(state))
        state = given if given.__class__ in known else keep(given)
    newest = entries[-1][0]
    return None if state is None else (newest, state)
