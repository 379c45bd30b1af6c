"""Programs whose steps wait: for coroutine functions, or for a batch to fill up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import tidemill as tm

__all__ = ["PROGRAMS"]


def stream(app: tm.App) -> tm.Stream[str, Any]:
    return app.stream("a", key=tm.utf8, value=tm.json)


async def slow(value: Any) -> Any:
    """Complete out of order; fail for 13."""
    await asyncio.sleep(0.001 * ((value or 0) % 3))
    if value == 13:
        raise ValueError("13")
    return [value]


async def slow_call(value: Any, call: tm.CallContext) -> Any:
    assert call.key
    return await slow(value)


def all_of(values: list[Any]) -> list[Any]:
    """Return the list; fail if it contains 13."""
    if 13 in values:
        raise ValueError("13")
    return [[value] for value in values]


def async_chain(app: tm.App) -> None:
    first = stream(app).map_async(slow, in_flight=3).named("first")
    first.map(lambda v: v[0]).map_async(slow, in_flight=2).named("second").to("out")
    first.group_by_key().count().to("out_count")


PROGRAMS: Final[dict[str, Callable[[tm.App], object]]] = {
    "map_async": lambda app: stream(app).map_async(slow, in_flight=2).to("out"),
    "map_async twice": async_chain,
    "map_async, journal": lambda app: stream(app).map_async(slow_call, in_flight=2, journal=True).to("out"),
    "map_batch": lambda app: stream(app).map_batch(all_of, max_size=4).to("out"),
    "map_batch that waits": lambda app: stream(app).map_batch(all_of, max_size=4, max_wait="1s").to("out"),
}
