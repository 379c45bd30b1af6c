"""The programs of the recorded cases with windows: all kinds, all emission policies, and suppression."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import tidemill as tm
from tests.oracle.common import AGG, Params, source, text

Windows = tm.TimeWindows | tm.SlidingWindows | tm.SessionWindows


def null_or_sum(a: int, b: int | None) -> int | None:
    return None if b is None else a + b


def sum_of_any(a: int | None, b: int | None) -> int:
    return (a or 0) + (b or 0)


def appended(so_far: str, value: Any) -> str:
    return so_far + text(value)


def windows_of(params: Params) -> Windows:
    """The windows that a case's parameters describe."""
    grace = params["grace"]
    if "gap" in params:
        return tm.session(gap=params["gap"], grace=grace)
    if "diff" in params:
        return tm.sliding(params["diff"], grace=grace)
    return tm.hopping(params["size"], every=params.get("advance", params["size"]), grace=grace)


def aggregated(app: tm.Builder, params: Params) -> tm.WindowedTable[str, Any]:
    windows = windows_of(params)
    stream = source(app, "a").group_by_key().window(windows)
    stream = stream.emit(params.get("emit", "update"), expired="drop")
    sessions = isinstance(windows, tm.SessionWindows)
    match params["op"]:
        case "count":
            return stream.count()
        case "reduce":
            return stream.reduce(sum_of_any if sessions else null_or_sum)
        case _:
            return stream.aggregate("", appended, merge=lambda left, right: f"{left}|{right}")


def windowed(app: tm.Builder, params: Params) -> None:
    aggregated(app, params).named(AGG).to("out")


def suppress_window(app: tm.Builder, params: Params) -> None:
    aggregated(app, params).suppress(until="close").to("out")


def suppress_time(app: tm.Builder, params: Params) -> None:
    table = source(app, "a").group_by_key().count().named(AGG)
    bounds = {name: params[name] for name in ("max_records", "max_bytes") if name in params}
    table.suppress(until=params["limit"], **bounds).to("out")


WINDOWS: Final[dict[str, Callable[[tm.Builder, Params], None]]] = {
    "hopping": windowed,
    "session": windowed,
    "sliding": windowed,
    "suppress_time": suppress_time,
    "suppress_window": suppress_window,
    "tumbling": windowed,
}
