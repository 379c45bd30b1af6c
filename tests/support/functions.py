"""Sources and functions shared by the small test programs; the functions fail for a value of 13."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, TypeAlias

import tidemill as tm

Stream = tm.Stream[str, Any]
Program: TypeAlias = Callable[[tm.App], object]
SKETCHES = find_spec("datasketches") is not None
"""There is no wheel of datasketches for every Python."""


def stream(app: tm.App, topic: str = "a") -> Stream:
    return app.stream(topic, key=tm.utf8, value=tm.json)


def table(app: tm.App, topic: str = "a") -> tm.Table[str, Any]:
    return app.table(topic, key=tm.utf8, value=tm.json)


def checked(value: Any) -> Any:
    """Return the value; fail for 13."""
    if value == 13:
        raise ValueError("13")
    return value


def added(a: int | None, b: int | None) -> int | None:
    """Return the sum, or None (a deletion) for multiples of five."""
    total = (a or 0) + (checked(b) or 0)
    return None if total % 5 == 0 else total


def appended(so_far: list[Any], value: Any) -> list[Any]:
    """Append to the accumulator in place, then fail for 13."""
    so_far.append(value)
    checked(value)
    del so_far[:-3]
    return so_far


def columns() -> dict[str, tm.Aggregator]:
    def field(value: Any) -> Any:
        return checked(value)

    return {
        "n": tm.count(),
        "values": tm.count(field),
        "total": tm.sum(field),
        "mean": tm.mean(field),
        "least": tm.min(field),
        "most": tm.max(field),
        "first": tm.first(field),
        "last": tm.last(field),
        "all": tm.collect(field),
        "top": tm.top(2, by=field),
        **({"distinct": tm.count_distinct(field), "middle": tm.quantile(field, [0.1, 0.5])} if SKETCHES else {}),
    }
