"""Every stateful operator, on the records of one topic.

All results of a record are computed in the task of its partition, so they can be recomputed per partition. They are
written to one topic, each with the name of its step, with the key of the record.
"""

import os
from collections.abc import Iterator
from typing import Any

import tidemill as tm

topics = os.environ["TOPICS"]

app = tm.App("every-operator")
steps: list[str] = []
"""The names under which results are written."""


class Remembering(tm.Processor[str, int, Any]):
    """Use all kinds of state, and timers."""

    total = tm.ValueState(int, default=0)
    by_digit = tm.MapState(int, int, ttl="2s")
    recent = tm.ListState(int)
    window = tm.WindowState(int, retention="1s")
    versions = tm.VersionedState(int, history="1s")

    def process(self, value: int, ctx: tm.Context[str]) -> Iterator[Any]:
        self.total.set(self.total.get() + value % 1000)
        self.by_digit[value % 10] = value
        self.recent.append(value % 100)
        while len(self.recent) > 3:
            yield tm.side("old", self.recent.popleft())
        self.window.put(value % 7, ctx.timestamp)
        self.versions.put(value % 5, timestamp=ctx.timestamp)
        ctx.timer("quiet", after="300ms")
        seen = self.window.fetch(ctx.timestamp - 500, ctx.timestamp)
        yield [self.total.get(), len(self.by_digit), list(self.recent), seen, self.versions.get(ctx.timestamp - 200)]

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        yield [name, ctx.timestamp, self.total.get()]


class Reporting(tm.Processor[str, int, Any]):
    """Use a recurring method of the task, in event time."""

    number = tm.ValueState(int, default=0)

    def process(self, value: int, ctx: tm.Context[str]) -> Iterator[Any]:
        self.number.set(self.number.get() + 1)
        if value % 50 == 0:
            yield self.number.get()

    @tm.every("500ms")
    def report(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, Any]]:
        for key, number in self.number.scan():
            if key.endswith("7"):
                yield tm.Record(key, ["report", number], ctx.timestamp)


def shown(step: str, record: tm.Record[Any, Any]) -> tm.Record[str, Any]:
    """Return a result as it is written: step, window and value."""
    if isinstance(record.key, tm.Windowed):
        window = record.key
        return tm.Record(window.key, [step, window.start, window.end, record.value], record.timestamp)
    return tm.Record(record.key, [step, record.value], record.timestamp)


def write(step: str, stream: tm.Stream[Any, Any]) -> None:
    steps.append(step)
    stream.map_record(lambda record: shown(step, record)).to(f"{topics}-results", key=tm.utf8, value=tm.json)


def plus(so_far: int, value: int) -> int:
    return so_far + value


def minus(so_far: int, value: int) -> int:
    return so_far - value


async def tripled(value: int) -> int:
    return value % 1000 * 3


def doubled(values: list[int]) -> list[int]:
    return [value % 1000 * 2 for value in values]


data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64)
small = data.map(lambda value: value % 1000, value=tm.int64)
halves = small.split(even=lambda value: value % 2 == 0, default="odd")
even, odd = halves["even"].group_by_key(), halves["odd"].group_by_key()
by_key = small.group_by_key()

count = by_key.count().named("count")
total = by_key.reduce(lambda a, b: a + b).named("sum")
row = by_key.aggregate(
    n=tm.count(),
    mean=tm.mean(lambda value: value),
    most=tm.max(lambda value: value),
    last=tm.last(lambda value: value),
    different=tm.count_distinct(lambda value: value),
    median=tm.quantile(lambda value: value, 0.5),
    best=tm.top(3, by=lambda value: value),
).named("row")
write("row", row.to_stream())
write("count-update", count.to_stream())
write("count-commit", by_key.emit("commit").count().named("count-commit").to_stream())

for name, windows in {
    "tumbling": tm.tumbling("400ms", grace="100ms"),
    "hopping": tm.hopping("600ms", every="200ms", grace="100ms"),
    "sliding": tm.sliding("300ms", grace="100ms"),
    "session": tm.session(gap="150ms", grace="100ms"),
}.items():
    updated = by_key.window(windows).count().named(f"{name}-update")
    write(f"{name}-update", updated.to_stream())
    write(f"{name}-suppress", updated.suppress(until="close").named(f"{name}-suppress").to_stream())
    committed = by_key.window(windows).emit("commit").count().named(f"{name}-commit")
    write(f"{name}-commit", committed.to_stream())
    closed = by_key.window(windows).emit("close").reduce(lambda a, b: a + b).named(f"{name}-close")
    write(f"{name}-close", closed.to_stream())

write("calendar", by_key.window(tm.calendar("hour")).count().named("calendar").to_stream())
write("suppress", total.suppress(until="200ms").named("suppress").to_stream())
write("join", halves["even"].join(halves["odd"], lambda a, b: [a, b], within="200ms", how="outer").named("join"))
write("self-join", small.join(small, lambda a, b: a + b, within=("0ms", "50ms")).named("self-join"))

odd_rows = halves["odd"].to_table().named("odd-rows")
even_rows = halves["even"].to_table(history="1s").named("even-rows")
write("table-join", small.join(odd_rows, lambda a, b: [a, b], how="left").named("table-join"))
write("as-of", small.join(even_rows, lambda a, b: [a, b], as_of=True, grace="100ms").named("as-of"))
write("tables", odd_rows.outer_join(count, lambda a, b: [a, b]).named("tables").to_stream())
write("filtered", odd_rows.filter(lambda value: value > 500).map(lambda value: value + 1).stored("kept").to_stream())

together = even.cogroup(plus).cogroup(odd, minus)
write("cogroup", together.aggregate(0).named("cogroup").to_stream())
write(
    "cogroup-window",
    together.window(tm.tumbling("400ms", grace="100ms")).aggregate(0).named("cogroup-window").to_stream(),
)

remembering = data.process(Remembering).named("remembering")
write("remembering", remembering)
write("remembering-old", remembering.side("old"))
write("reporting", small.process(Reporting).named("reporting"))
write("first-only", small.deduplicate(within="300ms").named("first-only"))
write("async", data.map_async(tripled, in_flight=8).named("async"))
write("batch", data.map_batch(doubled, max_size=16, max_wait="200ms").named("batch"))

if __name__ == "__main__":
    app.main()
