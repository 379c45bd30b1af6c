"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Any, Entry, check_unchanged, fresh, function, keep, known, own


def take(entry: Entry | None, value: Any, newest: int) -> tuple[Entry | None, Any]:
    if entry is None:
        state = None
        given = None
    else:
        _, state = entry
        given = None
    so_far = fresh() if state is None else own(state)
    given = function(so_far, value)
    if given is None:
        check_unchanged(so_far, fresh() if state is None else own(state))
    state = given if given.__class__ in known else keep(given)
    return None if state is None else (newest, state), own(state) if given is None else given
