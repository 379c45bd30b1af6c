"""Throughput of join operators on RocksDB, without Kafka.

    python -m bench.joins

200,000 records with 20,000 keys and small JSON values, alternately from the left and the right, in runs of 2,000 with a
commit after each fifth run. Rates are per second of thread CPU time, which other load on the machine affects little;
"joined" is the operator alone, "with commits" includes encoding and writing its state.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import tidemill as tm
from bench.alone import measure

RECORDS, KEYS, RUN, COMMIT = 200_000, 20_000, 2_000, 10_000

Programs = dict[str, tuple[Callable[[tm.App], object], float]]


def pair(left: Any, right: Any) -> tuple[Any, Any]:
    return left, right


def streams(how: Any) -> Callable[[tm.App], object]:
    def program(app: tm.App) -> None:
        left = app.stream("left", key=tm.utf8, value=tm.json)
        right = app.stream("right", key=tm.utf8, value=tm.json)
        left.join(right, pair, within="10s", grace="5s", how=how)

    return program


def table(app: tm.App) -> None:
    rows = app.table("left", key=tm.utf8, value=tm.json).filter(bool)  # so that the join stores them
    app.stream("right", key=tm.utf8, value=tm.json).join(rows, pair)


PROGRAMS: Programs = {
    "inner, two matches per record": (streams("inner"), 0.1),
    "inner, few matches": (streams("inner"), 5),
    "left, two matches per record": (streams("left"), 0.1),
    "left, few matches": (streams("left"), 5),
    "outer, two matches per record": (streams("outer"), 0.1),
    "outer, few matches": (streams("outer"), 5),
    "stream and filtered table": (table, 0.1),
}
"""The programs, each with the event time between two records in ms."""


def records(step: float) -> Iterator[tuple[int, tm.Record[str, Any]]]:
    source = random.Random(1)
    for number in range(RECORDS):
        key, late = f"user-{source.randrange(KEYS)}", source.randrange(100)
        yield number % 2, tm.Record(key, {"n": number, "kind": "click"}, int(number * step) + late, (), number)


def line(name: str, program: Callable[[tm.App], object], step: float) -> str:
    """Measure one join and return a line with the results."""
    app = tm.App("bench")
    program(app)
    costs = measure(app, "join", list(records(step)), RUN, COMMIT)
    joining, committing = sum(cost.processing for cost in costs), sum(cost.committing for cost in costs)
    alone, whole = RECORDS / joining, RECORDS / (joining + committing)
    results = sum(cost.results for cost in costs) / RECORDS
    return f"{name:<30} {alone:>10,.0f}/s joined {whole:>10,.0f}/s with commits {results:>6.2f} results per record"


def main() -> None:
    for name, (program, step) in PROGRAMS.items():
        print(line(name, program, step))


if __name__ == "__main__":
    main()
