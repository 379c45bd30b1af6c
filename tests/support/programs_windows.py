"""Small programs with every kind of window and every emission policy. See `programs.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import tidemill as tm
from tests.support.functions import Program, added, appended, columns, stream

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


def suppressed(app: tm.App) -> None:
    grouped = stream(app).group_by_key()
    for name, windows in WINDOWS.items():
        final = grouped.window(windows).aggregate(list, appended, merge=merged).named(f"{name.split()[0]}-all")
        final = final.suppress(until="close").named(f"{name.split()[0]}-final")
        final.filter(lambda seen: len(seen) != 2).to("out_final")
    sums = grouped.reduce(added).named("sums")
    sums.suppress(until=7).named("late").to("out_late")
    sums.suppress(until=20, max_records=2).named("few").filter(lambda total: total % 2).to("out_few")
    sums.suppress(until=50, max_bytes=3).named("small").group_by(lambda total: str(total % 3)).count().to("out_small")


def partition_time(app: tm.App) -> None:
    def time(value: Any) -> int | None:
        return None if value is None else value * 9 - 9

    times = app.stream("a", key=tm.utf8, value=tm.json, timestamp=time, on_invalid="partition_time")
    times.to("out")
    times.group_by_key().window(tm.tumbling(10)).count().to("out_count")


def programs() -> Iterator[tuple[str, Program]]:
    for name, windows in WINDOWS.items():
        for way, when in WAYS.items():
            yield f"{name}, {way}", windowed(windows, when)
    yield "suppress", suppressed
    yield "partition time", partition_time


PROGRAMS: Final[dict[str, Callable[[tm.App], object]]] = dict(programs())
