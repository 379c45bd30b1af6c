"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Entry, Sequence


def merge(entries: Sequence[Entry]) -> Entry | None:
    _, s0_0, s1_0, s2_0 = entries[0]
    for other in entries[1:]:
        _, o0, o1, o2 = other
        s0_0 += o0
        s1_0 = o1 if s1_0 is None else s1_0 if o1 is None else s1_0 + o1
        if o2 is not None:
            s2_0 = o2 if s2_0 is None or o2 > s2_0 or s2_0 != s2_0 else s2_0
    newest = entries[-1][0]
    return (newest, s0_0, s1_0, s2_0)
