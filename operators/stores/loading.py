"""From rows in JSON types to entries: keys with event times, windows, sessions.

The stream time of a step with windows becomes that of the newest row of its task, so windows that have closed by then
are not sent again. Where a watermark is the step's time, it is not stored, and comes with the first records.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..graph.store_loading import Loading, Look, time_of, unknown_columns
from ..graph.store_rows import StoreRow
from ..record import Windowed
from ..serdes.base import Serde
from ..serdes.from_plain import from_plain, known
from ..serdes.keys import SessionKey, WindowedKey
from ..time.calendars import CalendarWindows
from ..time.windows import FixedWindows, SessionWindows, SlidingWindows, Windows
from .entries import HEAD, NEWEST_START_KEY, STREAM_TIME_KEY, Entry, Head

__all__ = ["given_key", "keyed_loading", "serde_loading", "window_loading"]

Slots = Callable[[Any], Entry]
"""From a result in JSON types to the slots of an entry. Raises ValueError."""


def serde_loading(key: Serde[Any], value: Serde[Any]) -> Loading | str:
    """Return the loading of a store with the values of a serde under plain keys."""
    loaded = from_plain(value)
    return keyed_loading(key, lambda plain: (loaded(plain),))


def keyed_loading(key: Serde[Any], slots: Slots | str) -> Loading | str:
    """Return the loading of entries under plain keys; `slots` may say why there is none."""
    if isinstance(slots, str):
        return slots
    if isinstance(key, (WindowedKey, SessionKey)):
        return "its keys are windows that another step has opened; load the store of that step"
    loaded = from_plain(key)

    def entry(row: StoreRow) -> tuple[Any, Any]:
        unknown_columns(row)
        return given_key(loaded, row), (time_of(row), *slots(row.value))

    return Loading(entry, key.encode)


def window_loading(key: Serde[Any], windows: Windows, slots: Slots | str, *, watermarked: bool) -> Loading | str:
    """Return the loading of entries by window; `slots` may say why there is none."""
    if isinstance(slots, str):
        return slots
    loaded, encode = from_plain(key), key.encode

    def entry(row: StoreRow) -> tuple[Any, Any]:
        unknown_columns(row, ("window_start", "window_end"))
        window = window_of(row, windows)
        last = window.end if isinstance(windows, SessionWindows) else window.end - 1
        inner = given_key(loaded, row)
        slot = (window.end, window.start, inner) if isinstance(windows, SessionWindows) else (window.start, inner)
        return slot, (time_of(row, last), *slots(row.value))

    def books(look: Look, slot: Any, made: Any) -> Iterable[tuple[Any, Any]]:
        if not watermarked:
            time = look(STREAM_TIME_KEY)
            if time is None or time[0] < made[0]:
                yield STREAM_TIME_KEY, (made[0],)
        if isinstance(windows, SlidingWindows):
            newest = look(NEWEST_START_KEY)
            if newest is None or newest[0] < slot[0]:
                yield NEWEST_START_KEY, (slot[0],)
            starts = list(look((HEAD, slot[1])) or ())
            insort(starts, slot[0])
            yield (HEAD, slot[1]), Head(starts)
        elif isinstance(windows, SessionWindows):
            end, start, inner = slot
            head = look((HEAD, inner)) or ()
            pairs = sorted([*zip(head[::2], head[1::2], strict=True), (start, end)])
            yield (HEAD, inner), Head(chain.from_iterable(pairs))

    return Loading(entry, lambda slot: encode(slot[-1]), books)


def given_key(loaded: Callable[[Any], Any], row: StoreRow) -> Any:
    """Return the key of a row. Raises ValueError."""
    if row.key is None:
        raise ValueError("it has no key")
    return loaded(row.key)


def window_of(row: StoreRow, windows: Windows) -> Windowed[None]:
    """Return the window of a row.

    Raises ValueError if it is no window of the program.
    """
    start, end = (known(row.columns.get(name)) for name in ("window_start", "window_end"))
    if not isinstance(start, int) or start < 0:
        raise ValueError(f"window_start is {start!r}: it is the start of the window in ms since 1970")
    if isinstance(windows, SessionWindows):
        if not isinstance(end, int) or end < start:
            raise ValueError(f"window_end is {end!r}: for a session it is the time of the last record, in ms")
        return Windowed(None, start, end)
    if not _is_start(windows, start):
        raise ValueError(f"no window of the program begins at {start}")
    if end is not None and end != windows.end(start):
        raise ValueError(
            f"the window from {start} ends at {end}, and the program's ends at {windows.end(start)}: they are of "
            "another size"
        )
    return Windowed(None, start, windows.end(start))


def _is_start(windows: FixedWindows | SlidingWindows, start: int) -> bool:
    if isinstance(windows, SlidingWindows):
        return True
    if isinstance(windows, CalendarWindows):
        return windows.interval(start)[0] == start
    return start in windows.starts(start)
