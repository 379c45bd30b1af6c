"""`python measured.py CASE BUDGET`: MiB by which filling caches made the process grow, MiB they say, entries.

Run by `test_cache_memory.py`, a process a case, so that nothing else counts.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import psutil

from tidemill.operators.serdes.base import raw, utf8
from tidemill.operators.serdes.json import json
from tidemill.operators.stores.entries import STREAM_TIME_KEY, keyed_codec, serde_entry, windowed_codec
from tidemill.state.keys import window_key
from tidemill.state.store import frame
from tidemill.state.window_cache import cache_of

TIME = b"\x00" * 8


class Rows:
    """A store that returns a row for every key and stores none."""

    def __init__(self, row):
        self.row = row

    def get(self, store, key):
        return frame(TIME + self.row(key))

    def scan(self, store, lo, hi, reverse=False):
        return iter([(window_key(1 << 60, b"k0"), b"")])  # no window begins after all of these


def small(number):
    return b"%012d" % number


def document(number):
    return {"user": f"user-{number}", "amount": number / 7, "items": [number, number + 1], "note": None, "kind": "sale"}


CASES = {
    "12 bytes written": (1, raw, small, True),
    "12 bytes in 1000 stores": (1000, raw, small, True),
    "20 kB written": (1, raw, lambda number: os.urandom(20_000), True),
    "20 kB read": (1, raw, lambda number: os.urandom(20_000), False),
    "documents written": (1, json, document, True),
    "documents read": (1, json, document, False),
    "12 bytes written in windows": (1, raw, small, True),
    "20 kB written in windows": (1, raw, lambda number: os.urandom(20_000), True),
    "documents written in windows": (1, json, document, True),
    "documents written in one window": (1, json, document, True),
    "documents read in windows": (1, json, document, False),
}


def main(case, budget):
    stores, serde, value, write = CASES[case]
    store = Rows(lambda key: serde.encode(value(int(key.rpartition(b"k")[2]))))
    windowed = "window" in case
    windows = 1 << 60 if "one window" in case else 2_000
    codec = (windowed_codec if windowed else keyed_codec)(utf8, *serde_entry(serde))
    caches = [cache_of(store, f"s{number}", codec) for number in range(stores)]  # type: ignore[arg-type]
    clock: Any = STREAM_TIME_KEY if windowed else "clock"
    for cache in caches:
        cache.put(clock, (0, serde.decode(serde.encode(value(0)))))
    gc.collect()
    before = psutil.Process().memory_info().rss
    number = entries = 0
    size = len(serde.encode(value(1))) + 300
    while number * size < 2.5 * budget:
        for cache in caches:
            for _ in range(64 if stores == 1 else 8):
                number += 1
                key: Any = (number // windows, f"k{number}") if windowed else f"k{number}"
                if write:
                    cache.put(key, (number, serde.decode(serde.encode(value(number)))))
                else:
                    cache[key]
            cache.put(clock, (number, cache[clock][1][:1] if serde is raw else None))  # type: ignore[index]
            cache.drain()
            cache.complete_commit()
            cache.trim(budget // stores)
    entries = sum(map(len, caches))
    grown = psutil.Process().memory_info().rss - before
    print(grown / 2**20, sum(cache.memory for cache in caches) / 2**20, entries)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
