"""CPU time of windowed aggregates on RocksDB, without Kafka.

    python -m bench.windows [RECORDS]

Count and sum per key and window over 20,000 keys, event time +1 ms per record, 5 % of the records late by up to 5 s,
runs of 2,000 records, a commit every 150,000. Times are given per quarter of the records, to show whether they grow.
"""

from __future__ import annotations

import gc
import random
import sys
from typing import Any

import tidemill as tm
from bench.alone import measure

KEYS, RUN, COMMIT, PARTS = 20_000, 2_000, 150_000, 4
BASE_TIME = 1_700_000_000_000

WINDOWS = {
    "tumbling": tm.tumbling("1m", grace="10s"),
    "tumbling, on close": tm.tumbling("1m", grace="10s"),
    "tumbling, tiny windows": tm.tumbling("100ms", grace="10s"),
    "hopping": tm.hopping("1m", every="15s", grace="10s"),
    "sliding": tm.sliding("20s", grace="10s"),
    "session": tm.session(gap="10s", grace="10s"),
}
EMIT: dict[str, Any] = {"tumbling, on close": "close"}


def records(count: int) -> list[tm.Record[str, Any]]:
    source = random.Random(1)
    made: list[tm.Record[str, Any]] = []
    for number in range(count):
        late = source.randrange(100_000)
        time = BASE_TIME + number - (late if late < 5_000 else 0)
        made.append(tm.Record(f"user-{source.randrange(KEYS)}", {"amount": late / 7}, time, (), number))
    return made


def program(kind: str) -> tm.App:
    app = tm.App("bench")
    grouped = app.stream("events", key=tm.utf8, value=tm.json).group_by_key()
    windowed = grouped.window(WINDOWS[kind]).emit(EMIT.get(kind, "update"))
    windowed.aggregate(count=tm.count(), total=tm.sum("amount"))
    return app


def main(count: int) -> None:
    made = records(count)
    gc.collect()
    gc.freeze()
    for kind in WINDOWS:
        costs = measure(program(kind), "aggregate", made, RUN, COMMIT)
        size = -(-len(costs) // PARTS)
        parts = [costs[first : first + size] for first in range(0, len(costs), size)]
        spent = [sum(cost.processing + cost.committing for cost in part) / len(part) / COMMIT * 1e6 for part in parts]
        committing = sum(cost.committing for cost in costs) / count * 1e6
        changes = sum(cost.changes for cost in costs) / count
        print(
            f"{kind:<24} {'  '.join(f'{cost:5.2f}' for cost in spent)} µs per record by quarter, "
            f"of that commits {committing:5.2f}; {changes:5.2f} changelog records per record"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_200_000)
