"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import VERSION, Entry, encode, head


def keep(entry: Entry) -> bytes:
    _, s0_0, s1_0, s2_0 = entry
    return encode({"count:count": s0_0, "total:sum": s1_0, "largest:max": s2_0})


def keep_column(entries: list[Entry]) -> list[bytes | None]:
    return [
        head(VERSION, time) + encode({"count:count": s0_0, "total:sum": s1_0, "largest:max": s2_0})
        for time, s0_0, s1_0, s2_0 in entries
    ]
