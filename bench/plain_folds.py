"""CPU time of generated loops of folds, compared with the same loops in plain code.

    python -m bench.plain_folds --rounds 25

Plain code calls a function per record. The two alternate on the same lists of records; the ratio is the median of the
ratios of pairs. Decision 054 has results.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any

import tidemill as tm
from bench.operators import time_of
from tidemill.operators.aggregates.columns import columns_fold
from tidemill.operators.aggregates.fold import Fold, FoldFunctions, aggregating, counting, reducing
from tidemill.operators.aggregates.keyed import KeyedFold, keyed_loop
from tidemill.operators.graph.record_loop import RecordLoop, Records
from tidemill.operators.record import Record, Windowed
from tidemill.operators.serdes.value_copies import fresh
from tidemill.operators.stores.entries import Entry, keyed_codec, windowed_codec
from tidemill.operators.time.windows import Emit, TimeWindows
from tidemill.operators.windows.window_operator import Send, WindowConfig
from tidemill.operators.windows.windowed import WindowedFold, windowed_loop
from tidemill.state.cache import StateCache
from tidemill.state.memory import MemoryStore
from tidemill.state.pages import Page
from tidemill.state.window_cache import WindowCache

__all__ = ["main"]

Cache = StateCache[Any, Any]


class PlainKeyedFold(RecordLoop):
    """The equivalent of `KeyedFold` in plain code."""

    def __init__(self, cache: Cache, fold: FoldFunctions) -> None:
        super().__init__("plain")
        self._cache, self._take = cache, fold.take
        self.drops = {"null key": 0, "null value": 0}

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        cache, take, drops, emit = self._cache, self._take, self.drops, done.append
        touched = cache.mark
        for record in records:
            key = record.key
            value = record.value
            if key is None or value is None:
                drops["null key" if key is None else "null value"] += 1
                continue
            newest = record.timestamp
            entry = cache[key]
            if entry is not None and entry[0] > newest:
                newest = entry[0]
            cache[key], shown = take(entry, value, newest)
            touched(key)
            emit(Record(key, shown, newest, record.headers, record.offset))


class PlainWindowedFold(WindowedFold):
    """The equivalent of `WindowedFold` in plain code, for results on update."""

    def __init__(self, config: WindowConfig, cache: WindowCache, windows: TimeWindows) -> None:
        super().__init__(config, cache, windows, print)
        self._time_windows = windows

    def _fold(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        fold = self._fold_tumbling if self._time_windows.tumbling else self._fold_hopping
        fold(records, emit)

    def _fold_tumbling(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        cache, drops, size, span = self._cache, self.drops, self._time_windows.size, self._time_windows.span
        take = self._config.fold.take
        time = self.time
        boundary = self.next_boundary(time)
        start = end = closes = 0
        page: Page | None = None
        for record in records:
            key = record.key
            if key is None:
                drops["null key"] += 1
                continue
            newest = timestamp = record.timestamp
            if not start <= timestamp < end:
                start = timestamp - timestamp % size
                end, closes, page = start + size, start + span, None
            if closes <= time:
                self.drop_late(record)
                continue
            if page is None:
                page = cache.page(start)
            entry = page.find(key)
            if entry is not None and entry[0] > newest:
                newest = entry[0]
            page[key], shown = take(entry, record.value, newest)
            page.mark(key)
            emit(Record(Windowed(key, start, end), shown, newest, record.headers, record.offset))
            if timestamp > time:
                self.time = timestamp
                if timestamp >= boundary:
                    self.on_boundary(time, timestamp, record.offset, emit)
                    boundary = self.next_boundary(timestamp)
                    start = end = 0
                time = timestamp

    def _fold_hopping(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        cache, drops, size, span = self._cache, self.drops, self._time_windows.size, self._time_windows.span
        take, calls = self._config.fold.take, self._config.fold.calls
        starts = self._time_windows.starts
        time = self.time
        boundary = self.next_boundary(time)
        for record in records:
            key, timestamp, value = record.key, record.timestamp, record.value
            if key is None:
                drops["null key"] += 1
                continue
            closed = (max(time, timestamp)) - span
            staged: list[tuple[Page, Entry | None, int, Any, int]] = []
            late = 0
            for start in starts(timestamp):
                if start <= closed:
                    late += 1
                    continue
                page = cache.page(start)
                entry = page.find(key)
                newest = timestamp if entry is None or entry[0] < timestamp else entry[0]
                entry, shown = take(entry, fresh(value) if calls else value, newest)
                staged.append((page, entry, start, shown, newest))
            if late:
                self.drop_late(record, late, whole=not staged)
            for page, entry, start, shown, newest in staged:
                page[key] = entry
                page.mark(key)
                emit(Record(Windowed(key, start, start + size), shown, newest, record.headers, record.offset))
            if timestamp > time:
                self.time = timestamp
                if timestamp >= boundary:
                    self.on_boundary(time, timestamp, record.offset, emit)
                    boundary = self.next_boundary(timestamp)
                time = timestamp


def add(so_far: int, value: dict[str, int]) -> int:
    return so_far + value["amount"]


def larger(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return one if one["amount"] > other["amount"] else other


FOLDS: dict[str, Fold] = {
    "count": counting(tm.json),
    "columns": columns_fold({"count": tm.count(), "total": tm.sum("amount")}),
    "aggregate": aggregating(0, add, tm.json),
    "reduce": reducing(larger, tm.json),
}


def keyed(fold: Fold) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return factories of a keyed operator: generated, and in plain code."""
    codec = keyed_codec(tm.utf8, fold.keep, fold.restore)
    loop, functions = keyed_loop(fold, updates=False), fold.functions()

    def cache() -> Cache:
        return StateCache(MemoryStore(), "s", codec)

    return lambda: KeyedFold("generated", cache(), loop), lambda: PlainKeyedFold(cache(), functions)


def in_windows(fold: Fold, windows: TimeWindows) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return factories of a windowed operator: generated, and in plain code."""
    codec = windowed_codec(tm.utf8, fold.keep, fold.restore)
    loop = windowed_loop(fold, windows, Emit(), updates=False, watermarked=False)
    config = WindowConfig("s", fold.functions(), Emit(), updates=False, late=False, watermarked=False)

    def cache() -> WindowCache:
        return WindowCache(MemoryStore(), "s", codec)

    return lambda: WindowedFold(config, cache(), windows, loop), lambda: PlainWindowedFold(config, cache(), windows)


CASES: dict[str, Callable[[Fold], tuple[Callable[[], Any], Callable[[], Any]]]] = {
    "keyed": keyed,
    "tumbling": partial(in_windows, windows=tm.tumbling("1s", grace="1s")),
    "hopping": partial(in_windows, windows=tm.hopping("4s", every="1s", grace="1s")),
}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.plain_folds", description="Generated loops and plain code")
    parser.add_argument("--rounds", type=int, default=15)
    rounds: int = parser.parse_args().rounds
    for case, make in CASES.items():
        for name, fold in FOLDS.items():
            generated, plain = make(fold)
            pairs: list[tuple[float, float]] = []
            for number in range(rounds):
                first = time_of(generated()) if number % 2 else 0.0
                other = time_of(plain())
                pairs.append((first or time_of(generated()), other))
            ratio = median(other / mine for mine, other in pairs)
            figures = f"{median(mine for mine, _ in pairs):8.0f} ns {median(other for _, other in pairs):8.0f} ns"
            print(f"{case + ' ' + name:20} {figures}  {100 * (ratio - 1):+6.1f} %", flush=True)


if __name__ == "__main__":
    main()
