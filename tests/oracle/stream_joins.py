"""Recorded joins of streams, with streams and with tables, as Tidemill programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import tidemill as tm
from tests.oracle.common import Params, both, source, table


def stream_stream(app: tm.Builder, params: Params) -> None:
    a, b = source(app, "a"), source(app, "b")
    within = params["before"], params["after"]
    a.join(b, both, within=within, grace=params["grace"], how=params["how"]).to("out")


def self_join(app: tm.Builder, params: Params) -> None:
    a = source(app, "a")
    a.join(a, both, within=(params["before"], params["after"]), grace=params["grace"]).to("out")


def stream_table(app: tm.Builder, params: Params) -> None:
    source(app, "a").join(table(app, "t", name="t"), both, how=params["how"]).to("out")


def stream_global(app: tm.Builder, params: Params) -> None:
    table = app.global_table("g", key=tm.utf8, value=tm.json)
    joined = source(app, "a").join(
        table, lambda value, row: both(value["n"], row), on=lambda value: value["g"], how=params["how"]
    )
    joined.to("out")


STREAM_JOINS: Final[dict[str, Callable[[tm.Builder, Params], None]]] = {
    "self_join": self_join,
    "stream_global": stream_global,
    "stream_stream": stream_stream,
    "stream_table": stream_table,
}
