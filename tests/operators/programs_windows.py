"""Small programs with windows: all kinds of them, sent in all ways. See `programs.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import tidemill as tm
from tests.operators.functions import Program, added, appended, columns, stream

Windows = tm.TimeWindows | tm.CalendarWindows | tm.SlidingWindows | tm.SessionWindows

WINDOWS: Final[dict[str, Windows]] = {
    "windows": tm.tumbling(10, grace=5),
    "overlapping windows": tm.hopping(10, every=4, grace=5),
    "sliding windows": tm.sliding(6, grace=5),
    "sessions": tm.session(gap=4, grace=5),
    "calendar": tm.calendar("hour", tz="America/New_York"),
}

WAYS: Final[dict[str, Any]] = {"on update": "update", "on close": "close", "at intervals": tm.every(100)}


def merged(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *right][-3:]


def windowed(windows: Windows, when: Any) -> Program:
    def program(app: tm.App) -> None:
        grouped = stream(app).group_by_key().window(windows).emit(when)
        grouped.count().named("count").to("out_count")
        grouped.late(to="out_late").reduce(added).named("sum").to("out_sum")
        grouped.aggregate(list, appended, merge=merged).named("list").to("out_list")
        grouped.aggregate(**columns()).named("row").filter(lambda row: row["n"] > 1).to("out_row")

    return program


def programs() -> Iterator[tuple[str, Program]]:
    for name, windows in WINDOWS.items():
        for way, when in WAYS.items():
            yield f"{name}, {way}", windowed(windows, when)


PROGRAMS: Final[dict[str, Callable[[tm.App], object]]] = dict(programs())
