"""CPU time of one operator on RocksDB without Kafka: processing, and committing its state."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import tidemill as tm
from tidemill.state.changelog import encode
from tidemill.state.changes import Changes
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Position
from tidemill.state.window_cache import cache_of

__all__ = ["CACHE_BYTES", "Cost", "measure"]

CACHE_BYTES = 64 << 20


class Cost(NamedTuple):
    """Seconds of thread CPU time, which other load on the machine affects little."""

    processing: float
    committing: float
    results: int
    changes: int
    """The number of changelog records."""


def measure(app: tm.App, kind: str, records: list[Any], run: int, commit: int) -> list[Cost]:
    """Return the cost of the operator of this kind per commit, with runs of `run` records."""
    [node] = [node for node in app.topology().nodes if node.kind == kind]
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as directory:
        store = RocksStore(Path(directory), "bench", "0_0", RocksMemory(256 << 20))
        by_name = {state.spec.name: cache_of(store, state.spec.name, state.codec) for state in node.stores}
        operator, caches = node.build(by_name), list(by_name.values())
        for begin in range(0, len(records), commit):
            processing, results = 0.0, 0
            for first in range(begin, min(begin + commit, len(records)), run):
                part = records[first : first + run]
                started = time.thread_time()
                results += len(operator.process(part, 0))
                processing += time.thread_time() - started
            started = time.thread_time()
            changes = Changes(column for cache in caches for column in cache.drain().columns)
            encode(changes, None)
            store.apply(changes, Position())
            for cache in caches:
                cache.complete_commit()
                cache.trim(CACHE_BYTES // len(caches))
            costs.append(Cost(processing, time.thread_time() - started, results, len(changes)))
        store.close()
    return costs
