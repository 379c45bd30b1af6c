"""A table with one small program per operator: each is tested against all rules that operators must keep.

All read the topic "a" (some "b" too) with text keys and JSON values, and write topics whose names begin with "out". The
functions fail for a value of 13, at any point of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import tidemill as tm
from tests.support import (
    programs_joins,
    programs_processors,
    programs_tables,
    programs_time,
    programs_waiting,
    programs_windows,
)
from tests.support.functions import added, appended, checked, columns, stream


class Remembering(tm.Processor[str, Any, Any]):
    """Use every kind of state, and fail after writing to all of them."""

    total = tm.ValueState(int, default=0)
    longest = tm.ValueState(list)
    seen = tm.MapState(int, int)
    recent = tm.ListState(int)

    def __init__(self, keep: int) -> None:
        self.keep = keep

    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        if value is None:
            self.total.clear()
            self.seen.clear()
            self.recent.clear()
            return
        self.total.set(self.total.get() + value)
        self.longest.set([*(self.longest.get() or []), value][-2:])
        self.seen[value] = self.seen.get(value, 0) + 1
        if len(self.seen) > self.keep:
            del self.seen[next(iter(self.seen))]
        self.recent.append(value)
        while len(self.recent) > self.keep:
            yield tm.side("old", self.recent.popleft())
        checked(value)
        yield [self.total.get(), self.longest.get(), dict(self.seen), list(self.recent), ctx.stream_time, ctx.offset]


class Ticking(tm.Processor[str, Any, Any]):
    """Use timers and state with a time to live, and fail in both methods."""

    recent = tm.MapState(int, int, ttl=12)
    last = tm.ListState(int, ttl=7)

    def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
        if value is None:
            ctx.cancel("t0")
            return
        self.recent[value % 4] = value
        self.last.append(value)
        ctx.timer(f"t{value % 3}", after=value)
        yield [dict(self.recent), list(self.last)]
        checked(value)

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        self.last.append(ctx.timestamp)
        yield [name, ctx.timestamp, dict(self.recent), list(self.last), ctx.stream_time, ctx.offset]
        if ctx.timestamp % 5 == 0:
            ctx.timer("more", after=7)
        if ctx.timestamp % 7 == 0:
            raise ValueError("7")


def split_and_merge(app: tm.App) -> None:
    branches = stream(app).split(
        low=lambda v: checked(v) is not None and v < 5, high=lambda v: v is not None and v > 10, default="rest"
    )
    low = branches["low"].map(lambda v: f"low {v}")
    high = branches["high"].flat_map(lambda v: [f"high {v}", f"high {v} again"])
    low.merge(high, branches["rest"]).to("out")
    branches["low"].to("out_low")


def shared_sink(app: tm.App) -> None:
    source = stream(app)
    source.filter(lambda v: v is not None and checked(v) % 2).to("out")
    source.map(lambda v: f"all {v}").to("out")


def processor(app: tm.App) -> None:
    handle = stream(app).process(Remembering, 3).named("p")
    handle.to("out")
    handle.side("old").to("out_old")


def table_chain(app: tm.App) -> None:
    table = app.table("a", key=tm.utf8, value=tm.json)
    table.filter(lambda v: checked(v) > 4).to("out_filter")
    table.map(lambda v: checked(v) + 1).filter(lambda v: v > 6).map(lambda v: v * 2).stored("kept").to("out_chain")
    table.to_stream().group_by_key().count().filter(lambda n: n % 2 == 0).to("out_even")


PROGRAMS: Final[dict[str, Callable[[tm.App], object]]] = {
    **programs_windows.PROGRAMS,
    "filter": lambda app: stream(app).filter(lambda v: v is None or checked(v) % 2).to("out"),
    "map": lambda app: stream(app).map(lambda v: [checked(v)]).to("out"),
    "flat_map": lambda app: stream(app).flat_map(lambda v: (checked(i) for i in range(v or 0))).to("out"),
    "map_record": lambda app: (
        stream(app).map_record(lambda r: tm.Record(str(checked(r.value)), r.key, r.timestamp + 1)).to("out")
    ),
    "flat_map_record": lambda app: (
        stream(app).flat_map_record(lambda r: [r, tm.Record(r.key, checked(r.value), 7)]).to("out")
    ),
    "with_key": lambda app: stream(app).with_key(lambda v: v and checked(v) % 3).to("out", key=tm.json),
    "peek": lambda app: stream(app).peek(checked).to("out"),
    "split and merge": split_and_merge,
    "merge two topics": lambda app: stream(app).merge(stream(app, "b").map(checked)).to("out"),
    "shared sink": shared_sink,
    "topic function": lambda app: stream(app).to(lambda r: f"out{checked(r.value)}", headers=lambda r: {"at": r.key}),
    "repartition": lambda app: stream(app).with_key(lambda v: v).repartition().map(checked).to("out", key=tm.json),
    "count": lambda app: stream(app).group_by_key().count().to("out"),
    "reduce": lambda app: stream(app).group_by_key().reduce(added).to("out"),
    "aggregate": lambda app: stream(app).group_by_key().aggregate(list, appended).to("out"),
    "columns": lambda app: stream(app).group_by_key().aggregate(**columns()).to("out"),
    "columns named like methods": lambda app: (
        stream(app)
        .map(lambda v: v and {"items": checked(v), "get": None})
        .group_by_key()
        .aggregate(n=tm.count("items"), none=tm.count("get"), last=tm.last("items"))
        .to("out")
    ),
    "group_by": lambda app: stream(app).group_by(lambda v: v and checked(v) % 3).aggregate(**columns()).to("out"),
    "processor": processor,
    "timers": lambda app: stream(app).process(Ticking).named("p").to("out"),
    "table": table_chain,
    **programs_processors.PROGRAMS,
    **programs_time.PROGRAMS,
    "to_table": lambda app: stream(app).to_table().filter(lambda v: checked(v) > 4).to("out"),
    **programs_joins.PROGRAMS,
    **programs_tables.PROGRAMS,
    **programs_waiting.PROGRAMS,
}
