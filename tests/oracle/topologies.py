"""From the name of a recorded case and its parameters to the Tidemill program that must do the same.

A case's header says in words what its topology and functions are. Each function here adds them to an application: the
topics read and written have the names of the case.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import tidemill as tm
from tests.oracle.common import AGG, Params, source, text
from tests.oracle.processors import PROCESSORS
from tests.oracle.stream_joins import STREAM_JOINS
from tests.oracle.tables import TABLES
from tests.oracle.windows import WINDOWS


def by_key(app: tm.Builder, params: Params) -> None:
    grouped = source(app, "a").group_by_key()
    match params["op"]:
        case "count":
            table: tm.Table[str, Any] = grouped.count()
        case "reduce":
            table = grouped.reduce(lambda a, b: None if (a + b) % 7 == 0 else a + b)
        case _:
            longest = params["reset"]

            def append(so_far: str, value: Any) -> str | None:
                grown = so_far + text(value)
                return None if len(grown) > longest else grown

            table = grouped.aggregate("", append)
    table.named(AGG).to("out")


def stateless(app: tm.Builder, params: Params) -> None:
    a, b = source(app, "a"), source(app, "b")
    mod, low, high = params["mod"], params["low"], params["high"]

    def accepted(value: int | None) -> bool:
        return value is None or value % mod != 0

    def flat(record: tm.Record[Any, Any]) -> list[tm.Record[Any, Any]]:
        if record.value is None:
            return [tm.Record(None, None, record.timestamp)]
        key = text(record.key)
        return [tm.Record(f"{key}{i}", record.value, record.timestamp) for i in range(record.value % 3)]

    def mapped(record: tm.Record[Any, Any]) -> tm.Record[Any, Any]:
        value = None if record.value is None else record.value + 1
        return tm.Record(text(record.key) + "!", value, record.timestamp)

    def copies(value: int | None) -> list[Any]:
        return [None, -1] if value is None else [value] * (value % 3)

    a.filter(accepted).to("out_filter")
    a.filter(lambda value: not accepted(value)).to("out_filter_not")
    a.map_record(mapped, key=tm.utf8).to("out_map")
    b.map(lambda value: None if value is None else value * 10).to("out_map_values")
    a.flat_map_record(flat, key=tm.utf8).to("out_flat")
    b.flat_map(copies).to("out_flat_values")
    a.with_key(lambda value: None if value is None else f"k{value % mod}", key=tm.utf8).to("out_select")
    branches = a.split(
        low=lambda value: value is not None and value < low,
        mid=lambda value: value is not None and value < high,
        default="rest",
    )
    shown = [branch.map(lambda value, name=name: {"b": name, "v": value}) for name, branch in branches.items()]
    shown[0].merge(*shown[1:]).to("out_branch")
    a.merge(b).map(lambda value: {"m": value}).to("out_merge")


def table_ops(app: tm.Builder, params: Params) -> None:
    low = params["low"]
    table = app.table("a", key=tm.utf8, value=tm.json, name="t")
    kept = table.filter(lambda value: value >= low)
    mapped = table.map(lambda value: None if value % 4 == 0 else value * 10)
    if params["materialized"]:
        kept, mapped = kept.stored("f"), mapped.stored("m")
    kept.to("out_filter")
    mapped.to("out_map")
    table.to("out_stream")
    chain = table.map(lambda value: value + 1).filter(lambda value: value >= low).map(lambda value: value * 2)
    chain.to("out_chain")


def to_table(app: tm.Builder, params: Params) -> None:
    table = source(app, "a").to_table().named("t")
    table.to("out")
    table.map(lambda value: value + 1).to("out_map")


def extractor(app: tm.Builder, params: Params) -> None:
    stream = source(
        app, "a", timestamp=lambda value: None if value is None else value["t"], on_invalid=params["on_invalid"]
    )
    stream.to("out_raw")
    stream.group_by_key().window(tm.tumbling(params["size"])).count().to("out")


TOPOLOGIES: Final[dict[str, Callable[[tm.Builder, Params], None]]] = {
    "by_key": by_key,
    "extractor": extractor,
    "stateless": stateless,
    "table_ops": table_ops,
    "to_table": to_table,
    **PROCESSORS,
    **STREAM_JOINS,
    **TABLES,
    **WINDOWS,
}
