"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Any, Entry, own


def shown(entry: Entry) -> Any:
    _, state = entry
    given = None
    return own(state) if given is None else given
