"""`python -m bench.joins`: records a second through the operator of a join, on RocksDB, without Kafka.

200,000 records with 20,000 keys and small JSON values, by turns from the left and the right, in runs of 2,000 with a
commit after every fifth. Time is the thread's own, so that what else the machine does counts for little; "joined" is
the operator alone, "with commits" also has the encoding and the writing of its state.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tidemill as tm
from tidemill.state.cache import StateCache
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position

RECORDS, KEYS, RUN, COMMIT = 200_000, 20_000, 2_000, 10_000
CACHE_BYTES = 64 << 20

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
    rows = app.table("left", key=tm.utf8, value=tm.json)
    app.stream("right", key=tm.utf8, value=tm.json).join(rows, pair)


PROGRAMS: Programs = {
    "inner, two matches a record": (streams("inner"), 0.1),
    "inner, hardly any match": (streams("inner"), 5),
    "left, two matches a record": (streams("left"), 0.1),
    "left, hardly any match": (streams("left"), 5),
    "outer, two matches a record": (streams("outer"), 0.1),
    "outer, hardly any match": (streams("outer"), 5),
    "stream and table": (table, 0.1),
}
"""Programs, each with the event time in ms between two records."""


def records(step: float) -> Iterator[tuple[int, tm.Record[str, Any]]]:
    source = random.Random(1)
    for number in range(RECORDS):
        key, late = f"user-{source.randrange(KEYS)}", source.randrange(100)
        yield number % 2, tm.Record(key, {"n": number, "kind": "click"}, int(number * step) + late, (), number)


@contextmanager
def opened(app: tm.App) -> Iterator[tuple[Any, list[StateCache[Any, Any]], RocksStore]]:
    """The operator of the one join, its caches and their store."""
    [node] = [node for node in app.topology().nodes if node.kind == "join"]
    with tempfile.TemporaryDirectory() as directory:
        store = RocksStore(Path(directory), "bench", "0_0", RocksMemory(256 << 20))
        caches = {state.spec.name: StateCache(store, state.spec.name, state.codec) for state in node.stores}
        yield node.build(caches), list(caches.values()), store
        store.close()


def measure(name: str, program: Callable[[tm.App], object], step: float) -> str:
    """A line with the figures of one join."""
    app = tm.App("bench")
    program(app)
    pairs = list(records(step))
    results, joining, committing = 0, 0.0, 0.0
    with opened(app) as (operator, caches, store):
        for begin in range(0, RECORDS, RUN):
            started = time.thread_time()
            results += len(operator.process(pairs[begin : begin + RUN], 0))
            joined = time.thread_time()
            joining += joined - started
            if (begin + RUN) % COMMIT == 0:
                changes: list[Change] = [change for cache in caches for change in cache.drain()]
                store.apply(changes, Position())
                for cache in caches:
                    cache.settle()
                    cache.trim(CACHE_BYTES // len(caches))
                committing += time.thread_time() - joined
    alone, whole = RECORDS / joining, RECORDS / (joining + committing)
    return (
        f"{name:<28} {alone:>10,.0f}/s joined {whole:>10,.0f}/s with commits {results / RECORDS:>6.2f} results a record"
    )


def main() -> None:
    for name, (program, step) in PROGRAMS.items():
        print(measure(name, program, step))


if __name__ == "__main__":
    main()
