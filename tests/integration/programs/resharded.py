"""State of most kinds, behind repartitions and directly on an input, whose results per key do not depend on tasks.

Values from `OTHERS` on have keys of their own: they move the time of all tasks, and no other key. Results are written
to one topic, each with the name of its step.
"""

import os
from collections.abc import Iterator
from typing import Any

import tidemill as tm

OTHERS = 1_000_000

topics = os.environ["TOPICS"]
results = f"{topics}-results"

app = tm.App("resharded")


class Quiet(tm.Processor[str, int, Any]):
    """Emit the sum of a key's values after a time without new values."""

    total = tm.ValueState(int, default=0)
    recent = tm.WindowState(int, retention="2h")

    def process(self, value: int, ctx: tm.Context[str]) -> Iterator[Any]:
        self.total.set(self.total.get() + value)
        self.recent.put(value, ctx.timestamp)
        ctx.timer("quiet", after="30m")
        yield from ()

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        yield [self.total.get(), len(self.recent.fetch(ctx.timestamp - 3_600_000, ctx.timestamp))]


def named(prefix: str, count: int) -> Any:
    """Return the function from a value to one of so many keys."""
    return lambda value: f"{prefix}{value % count}" if value < OTHERS else f"other{value}"


def pair(value: int) -> str:
    """Return the key of a value and the next one."""
    return f"j{value // 2}" if value < OTHERS else f"other{value // 2}"


def shown(step: str, record: tm.Record[Any, Any]) -> tm.Record[str, Any]:
    """Return a result as it is written."""
    key = record.key
    if isinstance(key, tm.Windowed):
        key = f"{key.key}@{key.start}-{key.end}"
    return tm.Record(key, [step, record.value], record.timestamp)


def write(step: str, stream: tm.Stream[Any, Any]) -> None:
    stream.map_record(lambda record: shown(step, record)).to(results, key=tm.utf8, value=tm.json)


data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64)
buckets = data.group_by(named("b", 37), key=tm.utf8)

count = buckets.count().named("count")
write("count", count.to_stream())
write("total", buckets.reduce(lambda a, b: a + b).named("total").in_memory().to_stream())
write("win", buckets.window(tm.tumbling("2s", grace="1h")).count().named("win").to_stream())
closed = buckets.window(tm.tumbling("2s", grace="1h")).emit("close").count().named("closed")
write("closed", closed.to_stream())
sessions = buckets.window(tm.session(gap="150ms", grace="1h")).emit("close").count().named("session")
write("session", sessions.to_stream())
write("held", count.suppress(until="10m").named("held").to_stream())

digits = count.to_stream().group_by(lambda number: f"d{number % 5}", key=tm.utf8).count().named("digits")
write("digits", digits.to_stream())

halves = data.split(even=lambda value: value % 2 == 0, default="odd")
even = halves["even"].with_key(pair, key=tm.utf8)
odd = halves["odd"].with_key(pair, key=tm.utf8)
some = odd.filter(lambda value: value % 3 != 0)
pairs = even.join(some, lambda a, b: [a, b], within="1m", grace="1h", how="left").named("pairs")
write("pairs", pairs)

first = data.with_key(named("f", 41), key=tm.utf8).deduplicate("1d").named("first")
write("first", first)

latest = data.to_table().named("latest")
items = app.table(f"{topics}-items", key=tm.utf8, value=tm.int64).named("items")
priced = latest.join(items, lambda value, price: [value, price], on=named("i", 7))
write("priced", priced.named("priced").to_stream())

quiet = data.with_key(named("q", 11), key=tm.utf8).process(Quiet).named("quiet")
write("quiet", quiet)

if __name__ == "__main__":
    app.main()
