"""Programs whose time advances by watermarks, for the table in `programs.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import tidemill as tm
from tests.support.functions import added, appended, checked
from tests.support.programs_processors import Fetching, Recurring


def marked(app: tm.App, topic: str = "a", bound: int = 3) -> tm.Stream[str, Any]:
    return app.stream(topic, key=tm.utf8, value=tm.json, watermark=tm.bounded(bound, idle=500))


def windowed(windows: Any, when: Literal["update", "close"], bound: int = 3) -> Callable[[tm.App], object]:
    def make(app: tm.App) -> object:
        stream = marked(app, bound=bound).group_by_key().window(windows).emit(when)
        return stream.aggregate(list, appended, merge=lambda a, b: a + b).named("w").to("out")

    return make


def behind_a_repartition(app: tm.App) -> None:
    grouped = marked(app).merge(marked(app, "b", 5)).group_by(lambda v: v and checked(v) % 3)
    grouped.window(tm.tumbling(10)).emit("close").count().named("w").to("out", key=tm.json)


def joined(how: Literal["inner", "left", "outer"]) -> Callable[[tm.App], object]:
    def both(left: Any, right: Any) -> Any:
        return [left and checked(left), right]

    return lambda app: marked(app).join(marked(app, "b", 6), both, within=8, grace=2, how=how).named("j").to("out")


def cogrouped(app: tm.App) -> None:
    first, second = marked(app).group_by_key(), marked(app, "b").group_by_key()
    cogrouped = first.cogroup(added).cogroup(second, added)
    cogrouped.window(tm.tumbling(10, grace=3)).aggregate(lambda: 0).named("c").to("out")


def as_of(app: tm.App) -> None:
    def both(left: Any, right: Any) -> Any:
        return [checked(left), right]

    rows = app.table("b", key=tm.utf8, value=tm.json, history="1h")
    marked(app).join(rows, both, as_of=True, how="left", grace=4).named("j").to("out")


def tables_by_window(app: tm.App) -> None:
    first, second = (marked(app, topic, bound) for topic, bound in (("a", 3), ("b", 6)))
    one, other = (
        stream.group_by_key().window(tm.tumbling(10)).count().named(name)
        for stream, name in ((first, "n1"), (second, "n2"))
    )
    one.outer_join(other, lambda left, right: [left, right]).named("j").to("out")


def history(app: tm.App) -> None:
    rows = marked(app, "b", 6).to_table(history=12).named("t")
    marked(app).join(rows, lambda left, right: [left, right], as_of=True, how="left", grace=4).named("j").to("out")


class Versioned(tm.Processor[str, Any, Any]):
    """Emit the version that was valid a moment ago."""

    values = tm.VersionedState(int, history=12)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        self.values.put(value and checked(value), ctx.timestamp)
        return [[self.values.get(), self.values.get(ctx.timestamp - 3), self.values.get(ctx.timestamp - 11)]]


class Timed(tm.Processor[str, Any, Any]):
    """Use timers, and state with a time to live."""

    recent = tm.MapState(int, int, ttl=12)

    def process(self, value: Any, ctx: tm.Context[str]) -> Any:
        if value is not None:
            self.recent[value % 4] = value
            ctx.timer(f"t{value % 3}", after=value)
        return [[dict(self.recent), ctx.stream_time]]

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Any:
        if ctx.timestamp % 7 == 0:
            raise ValueError("7")
        return [[name, ctx.timestamp, ctx.stream_time, dict(self.recent)]]


PROGRAMS: Final[dict[str, Callable[[tm.App], Any]]] = {
    "watermark, on close": windowed(tm.tumbling(10), "close"),
    "watermark, on update": windowed(tm.tumbling(10, grace=2), "update"),
    "watermark, overlapping windows": windowed(tm.hopping(10, every=4), "close", 0),
    "watermark in grains": windowed(tm.tumbling(4), "close", 33),
    "watermark, sessions": windowed(tm.session(gap=4), "close"),
    "watermark, sliding windows": windowed(tm.sliding(6), "close"),
    "watermark behind a repartition": behind_a_repartition,
    "watermark, inner join": joined("inner"),
    "watermark, outer join": joined("outer"),
    "watermark, join as of": as_of,
    "watermark, cogroup": cogrouped,
    "watermark, timers": lambda app: marked(app).process(Timed).named("p").to("out"),
    "watermark, recurring methods": lambda app: marked(app).process(Recurring).named("p").to("out"),
    "watermark, sliding windows on update": windowed(tm.sliding(6), "update"),
    "watermark, deduplicate": lambda app: (
        marked(app).merge(marked(app, "b", 6)).deduplicate(7, by=lambda v: v and checked(v) % 2).named("d").to("out")
    ),
    "watermark, tables by window": tables_by_window,
    "watermark, history of a stream": history,
    "watermark, versions": lambda app: marked(app).merge(marked(app, "b", 6)).process(Versioned).named("p").to("out"),
    "watermark, window state": lambda app: marked(app).process(Fetching).named("p").to("out"),
}
