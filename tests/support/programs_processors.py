"""Programs of processors, for the table in `programs.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import tidemill as tm
from tests.support.functions import checked


def source(app: tm.App) -> tm.Stream[str, Any]:
    return app.stream("a", key=tm.utf8, value=tm.json)


class Recurring(tm.Processor[str, Any, Any]):
    """Use recurring methods, timers and all kinds of state; methods and timers fail for some values."""

    total = tm.ValueState(int, default=0)
    seen = tm.MapState(int, int)
    recent = tm.ListState(int)

    def process(self, value: Any, ctx: tm.Context[str]) -> None:
        if value is None:
            self.total.clear()
            return
        self.total.set(self.total.get() + value)
        self.seen[value] = ctx.timestamp
        self.recent.append(value)
        ctx.timer("late", after=value)
        if value == 13:
            raise ValueError("13")

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        self.total.set(self.total.get() + 1)
        yield [name, ctx.timestamp]

    @tm.every(5)
    def show(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, Any]]:
        for key, total in self.total.scan():
            yield tm.Record(key, [total, ctx.stream_time, ctx.offset], ctx.timestamp)
            ctx.use(key)
            self.total.set(total + 100)
            if total > 200:
                ctx.timer("soon", after=1)
        yield tm.Record("*", [list(self.seen.scan()), list(self.recent.scan())], ctx.timestamp)
        if ctx.timestamp % 4 == 0:
            raise ValueError("4")

    @tm.every(7)
    def forget(self, ctx: tm.Context[str]) -> Iterator[Any]:
        for key in {key for key, *_ in self.seen.scan()}:
            ctx.use(key)
            self.seen.clear()
        yield tm.side("forgotten", tm.Record("all", ctx.timestamp, ctx.timestamp))


class Fetching(tm.Processor[str, Any, Any]):
    """Store values by time, and fail after that."""

    last = tm.WindowState(int, retention=20)

    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        self.last.put(value, ctx.timestamp)
        if value == 12:
            self.last.put(value, ctx.timestamp + 10)
        yield [self.last.fetch(ctx.timestamp - 15, ctx.timestamp + 15), self.last.get(ctx.timestamp)]
        if value == 13:
            raise ValueError("13")


def recurring(app: tm.App) -> None:
    handle = source(app).process(Recurring).named("p")
    handle.to("out")
    handle.side("forgotten").to("out_forgotten")


PROGRAMS: Final[dict[str, Callable[[tm.App], Any]]] = {
    "recurring methods": recurring,
    "deduplicate": lambda app: source(app).deduplicate(7).named("d").to("out"),
    "deduplicate by": lambda app: (
        source(app).group_by(lambda v: v and v % 2).deduplicate(9, by=lambda v: checked(v) % 3).named("d").to("out")
    ),
    "window state": lambda app: source(app).process(Fetching).named("p").to("out"),
}
