"""Generated, for reading and checking; written by `make golden`."""
# pyright: strict, reportUnusedVariable=false

from __future__ import annotations

from tests.operators.golden.names import (
    Any,
    Callable,
    Iterator,
    Page,
    Record,
    Update,
    WindowCache,
    Windowed,
    WindowedFold,
    check_unchanged,
    fresh,
    function,
    keep,
    known,
    own,
    own_value,
    row_of,
    starts,
)


def loop(
    step: WindowedFold,
    records: Iterator[Record[Any, Any]],
    cache: WindowCache,
    drops: dict[str, int],
    emit: Callable[[Record[Any, Any]], None],
) -> None:
    time = step.time
    edge = step.next_boundary(time)
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
            value = own_value(record.value)
            if entry is None:
                state = None
                given = None
                newest = timestamp
            else:
                newest, state = entry
                given = None
                if newest < timestamp:
                    newest = timestamp
            so_far = fresh() if state is None else own(state)
            given = function(so_far, value)
            if given is None:
                check_unchanged(so_far, fresh() if state is None else own(state))
            state = given if given.__class__ in known else keep(given)
            shown = Update(None if before is None else row_of(before), own(state) if given is None else given)
            staged.append((page, mark, None if state is None else (newest, state), start, shown, newest, before))
        if late:
            step.drop_late(record, late, whole=not staged)
        for page, mark, entry, start, shown, newest, before in staged:
            page[key] = entry
            mark(key)
            emit(Record(Windowed(key, start, start + 60000), shown, newest, record.headers, record.offset))
        if timestamp > time:
            step.time = timestamp
            if timestamp >= edge:
                step.expire(time, timestamp)
                edge = step.next_boundary(timestamp)
                pages: dict[int, tuple[Page, Callable[[Any], Any], Callable[[Any], object]]] = {}
            time = timestamp
