"""Recorded cases with custom processors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import tidemill as tm
from tests.oracle.common import Params, source

NULL: Final = "\0null"
"""The key of records without one: Kafka Streams gives them to a processor, where they move time and are ignored."""


def with_null_keys(app: tm.Builder) -> tm.Stream[str, Any]:
    """The input, with a key for the records that have none."""
    return source(app, "a").map_record(
        lambda record: record if record.key is not None else tm.Record(NULL, None, record.timestamp),
        key=tm.utf8,
        value=tm.json,
    )


def punctuate(app: tm.Builder, params: Params) -> None:
    class Counts(tm.Processor[str, Any, int]):
        counts = tm.ValueState(int, name="counts")

        def process(self, value: Any, ctx: tm.Context[str]) -> None:
            if ctx.key != NULL:
                self.counts.set(None if value is None else (self.counts.get() or 0) + 1)

        @tm.every(params["every"], clock=params["clock"])
        def show(self, ctx: tm.Context[str]) -> Iterator[tm.Record[str, int]]:
            for key, count in self.counts.scan():
                yield tm.Record(key, count or 0, ctx.timestamp)
            yield tm.Record("*", ctx.timestamp, ctx.timestamp)

    with_null_keys(app).process(Counts).to("out", value=tm.json)


def window_retention(app: tm.Builder, params: Params) -> None:
    reach = params["range"]

    class Remembering(tm.Processor[str, Any, Any]):
        values = tm.WindowState(object, retention=params["retention"])

        def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
            if ctx.key != NULL:
                self.values.put(value, ctx.timestamp)
                found = self.values.fetch(max(0, ctx.timestamp - reach), ctx.timestamp + reach)
                yield [[timestamp, found_value] for timestamp, found_value in found]

    with_null_keys(app).process(Remembering).to("out", value=tm.json)


def dedup(app: tm.Builder, params: Params) -> None:
    window = params["window"]

    class First(tm.Processor[str, Any, Any]):
        forwarded = tm.WindowState(int, retention=params["retention"])

        def process(self, value: Any, ctx: tm.Context[str]) -> Iterator[Any]:
            if ctx.key == NULL:
                return
            if not self.forwarded.fetch(max(0, ctx.timestamp - window), ctx.timestamp + window):
                self.forwarded.put(ctx.timestamp, ctx.timestamp)
                yield value

    with_null_keys(app).process(First).to("out", value=tm.json)


PROCESSORS: Final[dict[str, Callable[[tm.Builder, Params], None]]] = {
    "dedup": dedup,
    "punctuate": punctuate,
    "window_retention": window_retention,
}
