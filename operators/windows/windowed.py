"""Folds in windows that begin and end at fixed times.

A record that is late for a window is not counted in it; `late` says how often that happened. Results go out on update,
one a window touched, or once on close, when stream time passes a window's end and grace, or so often by the wall clock;
entries are deleted when the newest window begins beyond that. All walk the store over just the windows concerned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...state.keys import window_key
from ...state.window_cache import WindowCache
from ..aggregates.fold import RESULTS, RESULTS_IN_COLUMNS, Fold, FoldLoop
from ..graph.result_columns import ResultColumns
from ..record import Record, Windowed
from ..time.calendars import CalendarWindows
from ..time.windows import Emit, FixedWindows
from .window_operator import Send, WindowConfig, WindowOperator

__all__ = ["WindowedFold", "windowed_loop"]

LOOP = """\
<signature>
    time = step.time
    <edge>
    <begin_holding>
    <begin_adding>
    <no_window>
    for record in records:
        key = record.key
        if key is None:
            drops["null key"] += 1
            continue
        timestamp = record.timestamp
        <windows>
        <move>
"""

IN_NO_WINDOW = """\
start = end = closes = 0
page: Page | None = None
find: Any = None
mark: Any = None
"""

ONE_WINDOW = """\
if not start <= timestamp < end:
    <window>
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
<fold>
page[key] = <entry>
mark(key)
<send>
"""

NO_PAGES = """\
pages: dict[int, tuple[Page, Callable[[Any], Any], Callable[[Any], object]]] = {}
"""

MANY_WINDOWS = """\
value = record.value
closed = (timestamp if timestamp > time else time) - <span>
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
    <own>
    <fold>
    staged.append((page, mark, <entry>, start, shown, newest, before))
if late:
    step.drop_late(record, late, whole=not staged)
for page, mark, entry, start, shown, newest, before in staged:
    page[key] = entry
    mark(key)
    <send>
"""

SEND = """\
emit(Record(Windowed(key, start, <end>), shown, newest, record.headers, record.offset))
"""

ADD = """\
add_key(key)
add_start(start)
add_value(shown)
add_time(newest)
add_cause(record)
"""

HOLD = """\
held[start][key] = (number(), record.headers, record.offset)
if newest < step.oldest:
    step.oldest = newest
"""

NOTE = """\
step.note((start, key), before, newest)
"""

ON_CLOSE = ("step.on_boundary(time, timestamp, record.offset, emit)",)
ON_UPDATE = ("step.expire(time, timestamp)",)

MOVE = """\
if timestamp > time:
    step.time = timestamp
    if timestamp >= edge:
        <on_boundary>
        edge = step.next_boundary(timestamp)
        <no_window>
    time = timestamp
"""
"""After a boundary pages may have been dropped, or go by the bytes of their keys."""


def windowed_loop(
    fold: Fold,
    windows: FixedWindows,
    emit: Emit,
    *,
    updates: bool,
    watermarked: bool,
    holding: bool = False,
    columns: bool = False,
) -> FoldLoop:
    """Return the loop of a fold per key and window.

    With `holding` it is that of a `HoldingWindowedFold`, with `columns` its results are `ResultColumns`. With several
    windows a record counts in all of them or, if the function fails, in none.
    """
    parts: dict[str, str | tuple[str, ...]] = {
        "step": ("step: HoldingWindowedFold,",) if holding else ("step: WindowedFold,",),
        "begin_holding": ("held = step.held", "number = step.number") if holding else (),
        "cache": "WindowCache",
        "edge": () if watermarked else ("edge = step.next_boundary(time)",),
        "no_window": IN_NO_WINDOW if windows.tumbling else NO_PAGES,
        "windows": ONE_WINDOW if windows.tumbling else MANY_WINDOWS,
        "send": HOLD if holding else () if emit.on_close else NOTE if not emit.on_update else ADD if columns else SEND,
        "results": RESULTS_IN_COLUMNS if columns else RESULTS,
        "begin_adding": ("add_key, add_start, add_value, add_time, add_cause = results.adding",) if columns else (),
        "move": () if watermarked else MOVE,
        "on_boundary": ON_CLOSE if emit.on_close else ON_UPDATE,
    }
    names: dict[str, Any] = {"Windowed": Windowed}
    if isinstance(windows, CalendarWindows):
        parts |= {"window": ("start, end = interval(timestamp)", f"closes = end + {windows.grace}"), "end": "end"}
        names["interval"] = windows.interval
    else:
        size, span = windows.size, windows.span
        start = f"start = timestamp - timestamp % {size}"
        parts |= {"window": (start, f"end = start + {size}", f"closes = start + {span}"), "span": str(span)}
        parts["end"] = "end" if windows.tumbling else f"start + {size}"
        names["starts"] = windows.starts
    return fold.loop("windowed aggregate", LOOP, parts, names, show=emit.on_update and not holding, updates=updates)


class WindowedFold(WindowOperator[WindowCache]):
    """A fold per key and window, for windows that start at fixed times."""

    def __init__(
        self,
        config: WindowConfig,
        cache: WindowCache,
        windows: FixedWindows,
        loop: FoldLoop,
        *,
        columns: bool = False,
    ) -> None:
        super().__init__(config, cache)
        self._windows = windows
        self._loop = loop
        self._columns = columns
        self._scanned = False  # the first scan is from the front: windows may have been larger before

    def _no_results(self) -> Any:
        return ResultColumns(self._windows.end) if self._columns else super()._no_results()

    def _run(self, records: Iterator[Record[Any, Any]], done: Any) -> None:
        if self._columns:
            self._loop(self, records, self._cache, self.drops, done)
        else:
            super()._run(records, done)

    def _fold(self, records: Iterator[Record[Any, Any]], emit: Send) -> None:
        self._loop(self, records, self._cache, self.drops, emit)

    def next_boundary(self, time: int) -> int:
        """Return the next stream time at which there is something to emit or to forget."""
        windows = self._windows
        following = windows.next_start(time)
        return min(following, windows.next_close(time)) if self._emit.on_close else following

    def on_boundary(self, before: int, time: int, offset: int, emit: Send) -> None:
        """Stream time has passed an edge."""
        if self._emit.on_close:
            windows = self._windows
            first = windows.closed_before(before)
            if self._emit.drop_expired:
                first = max(first, windows.expired_before(time, on_close=True))
            for slot, entry in self._between(first, windows.closed_before(time)):
                emit(self._final(slot, entry, offset))
        self.expire(before, time)

    def expire(self, before: int, time: int) -> None:
        """Forget the windows that stream time has left behind."""
        windows, on_close = self._windows, self._emit.on_close
        forgotten = windows.expired_before(before, on_close=on_close) if self._scanned else windows.first_start
        self._scanned = True
        self._forget(forgotten, windows.expired_before(time, on_close=on_close))

    def _move(self, before: int, offset: int, emit: Send) -> None:
        if self.time >= min(self.next_boundary(before), self._windows.next_close(before)):
            self.on_boundary(before, self.time, offset, emit)

    def _closes_by(self, time: int) -> bool:
        windows, on_close = self._windows, self._emit.on_close
        after = windows.expired_before(time, on_close=on_close)
        if on_close:
            after = max(after, windows.closed_before(time))
        return next(self._between(windows.first_start, after), None) is not None

    def _between(self, first: int, after: int) -> Iterator[tuple[Any, Any]]:
        """Return the entries of windows that start from `first` on and before `after`."""
        return self._cache.scan(window_key(first, b""), window_key(after, b"")) if after > first else iter(())

    def _forget(self, first: int, after: int) -> None:
        """Delete the windows with starts in [first, after), except for results that wait."""
        if after <= first:
            return
        waiting = set[Any]() if self._throttled is None else self._throttled.slots(first, after)
        if not waiting:
            self._cache.forget(first, after)
            return
        for slot, _ in self._between(first, after):
            if slot not in waiting:
                self._cache.delete(slot)

    def _windowed(self, slot: Any) -> Any:
        start, key = slot
        return Windowed(key, start, self._windows.end(start))

    def _forget_sent(self, slot: Any) -> None:
        if slot[0] < self._windows.expired_before(self.time, on_close=False):
            self._cache.delete(slot)
