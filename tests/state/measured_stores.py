"""`python measured_stores.py FOLDER STORES MIB BUDGET`: MiB by which filling and reading stores made the process grow.

Run by `test_rocks_memory.py` in a process of its own, so that nothing else counts. BUDGET is `state_memory` in MiB.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import psutil

from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position

ROWS = 200
"""Rows per write."""
VALUE = 500
"""Bytes per value, which cannot be compressed."""


def measure(folder: Path, count: int, mib: int, budget: int) -> int:
    process = psutil.Process()
    chance = random.Random(1)
    noise = chance.randbytes(1 << 20)
    memory = RocksMemory(budget << 20)
    start = most = process.memory_info().rss
    stores = [RocksStore(folder / str(number), "app", f"0_{number}", memory) for number in range(count)]
    rounds = (mib << 20) // (count * ROWS * VALUE)
    for at in range(rounds):
        for store in stores:
            starts = [chance.randrange(len(noise) - VALUE) for _ in range(ROWS)]
            rows = [
                Change("rows", b"%012d" % (row * 100_003 + at), noise[first : first + VALUE])
                for row, first in enumerate(starts)
            ]
            store.apply(rows, Position())
        most = max(most, process.memory_info().rss)
    for at in range(rounds):
        for store in stores:
            store.get_many("rows", [b"%012d" % (row * 100_003 + at) for row in range(0, ROWS, 9)])
        most = max(most, process.memory_info().rss)
    for store in stores:
        store.close()
    return (most - start) >> 20


if __name__ == "__main__":
    print(measure(Path(sys.argv[1]), *map(int, sys.argv[2:])))
