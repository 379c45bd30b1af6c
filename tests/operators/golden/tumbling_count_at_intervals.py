"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Any, Callable, Iterator, Page, Record, WindowCache, WindowedFold


def loop(
    step: WindowedFold,
    records: Iterator[Record[Any, Any]],
    cache: WindowCache,
    drops: dict[str, int],
    emit: Callable[[Record[Any, Any]], None],
) -> None:
    time = step.time
    edge = step.next_boundary(time)
    start = end = closes = 0
    page: Page | None = None
    find: Any = None
    mark: Any = None
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        timestamp = record.timestamp
        if not start <= timestamp < end:
            start = timestamp - timestamp % 60000
            end = start + 60000
            closes = start + 70000
            page = None
        if closes <= time:
            step.drop_late(record)
            continue
        if page is None:
            page = cache.page(start)
            find = page.find
            mark = page.mark
        value = record.value
        before = entry = find(key)
        if entry is None:
            state = 0
            newest = timestamp
        else:
            newest, state = entry
            if newest < timestamp:
                newest = timestamp
        state += 1
        page[key] = (newest, state)
        mark(key)
        step.note((start, key), before, newest)
        if timestamp > time:
            step.time = timestamp
            if timestamp >= edge:
                step.expire(time, timestamp)
                edge = step.next_boundary(timestamp)
                start = end = closes = 0
                page: Page | None = None
                find: Any = None
                mark: Any = None
            time = timestamp
