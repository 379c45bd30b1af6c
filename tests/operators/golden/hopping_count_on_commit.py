"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import Any, Callable, HoldingWindowedFold, Iterator, Page, Record, WindowCache, starts


def loop(
    step: HoldingWindowedFold,
    records: Iterator[Record[Any, Any]],
    cache: WindowCache,
    drops: dict[str, int],
    emit: Callable[[Record[Any, Any]], None],
) -> None:
    time = step.time
    edge = step.next_boundary(time)
    held = step.held
    number = step.number
    pages: dict[int, tuple[Page, Callable[[Any], Any], Callable[[Any], object]]] = {}
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        timestamp = record.timestamp
        value = record.value
        closed = (timestamp if timestamp > time else time) - 60000
        staged: list[tuple[Any, ...]] = []
        late = 0
        for start in starts(timestamp):
            if start <= closed:
                late += 1
                continue
            opened = pages.get(start)
            if opened is None:
                page = cache.page(start)
                opened = pages[start] = page, page.find, page.mark
            page, find, mark = opened
            before = entry = find(key)
            shown = None
            if entry is None:
                state = 0
                newest = timestamp
            else:
                newest, state = entry
                if newest < timestamp:
                    newest = timestamp
            state += 1
            staged.append((page, mark, (newest, state), start, shown, newest, before))
        if late:
            step.drop_late(record, late, whole=not staged)
        for page, mark, entry, start, shown, newest, before in staged:
            page[key] = entry
            mark(key)
            held[start][key] = (number(), record.headers, record.offset)
            if newest < step.oldest:
                step.oldest = newest
        if timestamp > time:
            step.time = timestamp
            if timestamp >= edge:
                step.expire(time, timestamp)
                edge = step.next_boundary(timestamp)
                pages: dict[int, tuple[Page, Callable[[Any], Any], Callable[[Any], object]]] = {}
            time = timestamp
