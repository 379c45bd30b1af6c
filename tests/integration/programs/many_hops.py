"""Repartitions in sequence and in a cycle, windows, joins, timers, and stores on disk and in memory.

The final results of a key do not depend on the order in which tasks run. They are written to one topic, each with the
name of its step.
"""

import os
from collections.abc import Iterator
from typing import Any

import tidemill as tm

topics = os.environ["TOPICS"]
results = os.environ.get("RESULTS", f"{topics}-results")

app = tm.App("many-hops")


class Quiet(tm.Processor[str, int, Any]):
    """Emit the sum of a key's values after a time without new values."""

    total = tm.ValueState(int, default=0)

    def process(self, value: int, ctx: tm.Context[str]) -> Iterator[Any]:
        self.total.set(self.total.get() + value)
        ctx.timer("quiet", after="2s")
        yield from ()

    def on_timer(self, name: str, ctx: tm.Context[str]) -> Iterator[Any]:
        yield self.total.get()


def shown(step: str, record: tm.Record[Any, Any]) -> tm.Record[str, Any]:
    """Return a result as it is written."""
    if isinstance(record.key, tm.Windowed):
        window = record.key
        return tm.Record(f"{window.key}@{window.start}", [step, record.value], record.timestamp)
    return tm.Record(record.key, [step, record.value], record.timestamp)


def write(step: str, stream: tm.Stream[Any, Any]) -> None:
    stream.map_record(lambda record: shown(step, record)).to(results, key=tm.utf8, value=tm.json)


data = app.stream(f"{topics}-data", key=tm.utf8, value=tm.int64, watermark=tm.bounded("1s", idle="500ms"))
buckets = data.group_by(lambda value: f"b{value % 37}", key=tm.utf8)

count = buckets.count().named("count")
write("count", count.to_stream())
write("total", buckets.reduce(lambda a, b: a + b).named("total").in_memory().to_stream())
write("win", buckets.window(tm.tumbling("2s", grace="1h")).count().named("win").to_stream())

digits = count.to_stream().group_by(lambda number: f"d{number % 5}", key=tm.utf8).count().named("digits")
write("digits", digits.to_stream())

halves = data.split(even=lambda value: value % 2 == 0, default="odd")
even = halves["even"].with_key(lambda value: f"j{value // 2}", key=tm.utf8)
odd = halves["odd"].with_key(lambda value: f"j{value // 2}", key=tm.utf8)
write("pairs", even.join(odd, lambda a, b: a + b, within="1h").named("pairs"))

latest = data.to_table().named("latest")
items = app.table(f"{topics}-items", key=tm.utf8, value=tm.int64).named("items")
priced = latest.join(items, lambda value, price: [value, price], on=lambda value: f"i{value % 7}")
write("priced", priced.named("priced").to_stream())

quiet = data.with_key(lambda value: f"q{value % 11}", key=tm.utf8).process(Quiet).named("quiet")
write("quiet", quiet)

if __name__ == "__main__":
    app.main()
