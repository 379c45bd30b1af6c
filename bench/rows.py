"""State, changelog and CPU time of joins that read rows of tables, or store them again.

    python -m bench.rows

Whole tasks in memory, without Kafka: 100,000 records with 20,000 keys and values of about 100 bytes, in batches of
10,000, alternately of both topics, with a commit after each. Time is thread CPU time per record, the least of three
runs, and includes encoding and decoding of records, the steps, and encoding what a commit writes. "stores again" is the
same program with joins that store all rows.
"""

from __future__ import annotations

import gc
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple
from unittest.mock import patch

import tidemill as tm
from tidemill.engine.tasks.task import PreparedCommit, Task
from tidemill.operators.joins import foreign_key_steps, steps
from tidemill.testing import TopologyDriver

RECORDS, KEYS, BATCH, RUNS = 100_000, 20_000, 10_000, 3


def pair(left: Any, right: Any) -> Any:
    return [left["n"], right["n"]]


def table(app: tm.App, topic: str) -> tm.Table[str, Any]:
    return app.table(topic, key=tm.utf8, value=tm.json)


def with_table(app: tm.App) -> None:
    app.stream("left", key=tm.utf8, value=tm.json).join(table(app, "right"), pair).named("joined")


def with_counts(app: tm.App) -> None:
    rows = app.stream("right", key=tm.utf8, value=tm.json).group_by_key().aggregate(n=tm.count())
    app.stream("left", key=tm.utf8, value=tm.json).join(rows, pair).named("joined")


def by_foreign_key(app: tm.App) -> None:
    table(app, "left").join(table(app, "right"), pair, on=lambda row: row["other"]).named("joined")


def by_key(app: tm.App) -> None:
    table(app, "left").join(table(app, "right"), pair).named("joined")


PROGRAMS: dict[str, Callable[[tm.App], None]] = {
    "stream and table": with_table,
    "stream and aggregate": with_counts,
    "tables, by foreign key": by_foreign_key,
    "tables, by key": by_key,
}


class Cost(NamedTuple):
    """What the records of a program cost."""

    state: Counter[str]
    """Bytes of keys and values, by store."""
    records: Counter[str]
    """Changelog records, by store."""
    written: Counter[str]
    """Bytes of those."""
    seconds: float


@contextmanager
def stored_again() -> Iterator[None]:
    with (
        patch.object(steps, "stored_rows", lambda *_: None),
        patch.object(foreign_key_steps, "stored_rows", lambda *_: None),
    ):
        yield


def batches() -> Iterator[tuple[str, list[tm.Record[str, Any]]]]:
    source = random.Random(1)
    filler = "x" * 60
    for begin in range(0, RECORDS, 2 * BATCH):
        for side, topic in enumerate(("right", "left")):
            numbers = range(begin + side * BATCH, begin + (side + 1) * BATCH)
            yield (
                topic,
                [
                    tm.Record(
                        f"user-{source.randrange(KEYS)}",
                        {"n": number, "other": f"user-{source.randrange(KEYS)}", "filler": filler},
                        number,
                    )
                    for number in numbers
                ],
            )


def measure(program: Callable[[tm.App], None]) -> Cost:
    app = tm.App("bench")
    program(app)
    records, written, seconds = Counter[str](), Counter[str](), 0.0
    prepare = Task.prepare_commit

    def counted(task: Task) -> PreparedCommit:
        prepared = prepare(task)
        for column in prepared.changes.columns:
            records[column.store] += len(column.keys)
            written[column.store] += sum(map(len, column.keys))
            written[column.store] += sum(len(value) for value in column.values if value is not None)
        return prepared

    with patch.object(Task, "prepare_commit", counted), TopologyDriver(app) as driver:
        for topic, sent in batches():
            started = time.thread_time()
            driver.send_all(topic, sent)
            seconds += time.thread_time() - started
        state = Counter[str]()
        for task in driver._tasks.values():
            for one in task.subtopology.stores:
                for key, value in task.stores[one.spec.kind].scan(one.spec.name, b"", None):
                    state[one.spec.name] += len(key) + len(value)
    return Cost(state, records, written, seconds)


def line(name: str, cost: Cost) -> str:
    totals = cost.state.total() / 1e6, cost.records.total(), cost.written.total() / 1e6
    each = cost.seconds / RECORDS * 1e6
    return f"  {name:<30} {totals[0]:>7.2f} MB {totals[1]:>9,} records {totals[2]:>7.2f} MB {each:>6.2f} us per record"


def main() -> None:
    gc.freeze()
    for name, program in PROGRAMS.items():
        print(name)
        costs: dict[str, list[Cost]] = {"reads": [], "stores again": []}
        for _ in range(RUNS):
            for mode, of_mode in costs.items():
                with nullcontext() if mode == "reads" else stored_again():
                    of_mode.append(measure(program))
        for mode, of_mode in costs.items():
            cost = min(of_mode, key=lambda cost: cost.seconds)
            print(line(mode, cost))
            for store, size in sorted(cost.state.items()):
                print(f"      {store:<26} {size / 1e6:>7.2f} MB {cost.records[store]:>9,} records "
                      f"{cost.written[store] / 1e6:>7.2f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
