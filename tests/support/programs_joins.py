"""Programs with joins, for the rules that every operator must keep."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import tidemill as tm
from tests.support.functions import stream


def sparse(app: tm.App, topic: str) -> tm.Stream[str, Any]:
    """Return the stream with a thousand times the time between its records, repartitioned by its own key."""
    return stream(app, topic).map_record(lambda r: tm.Record(r.key, r.value, r.timestamp * 1_000))


def both(left: Any, right: Any) -> list[Any]:
    """Return the pair; fail for two values of which one is 13, and for an unmatched 7."""
    if 13 in (left, right) or (None in (left, right) and 7 in (left, right)):
        raise ValueError("13 or an unmatched 7")
    return [left, right]


def two_streams(how: Any, within: Any, grace: int) -> Callable[[tm.App], object]:
    def program(app: tm.App) -> None:
        stream(app).join(stream(app, "b"), both, within=within, grace=grace, how=how).named("j").to("out")

    return program


def two_sparse_streams(how: Any) -> Callable[[tm.App], object]:
    def program(app: tm.App) -> None:
        joined = sparse(app, "a").join(sparse(app, "b"), both, within=("2s", "5s"), grace="3s", how=how)
        joined.in_memory().named("j").to("out")

    return program


def rekeyed(app: tm.App) -> None:
    """Join two repartitioned streams; some records of the left side have no key then."""
    left = stream(app).with_key(lambda v: None if v is None or v % 5 == 0 else str(v % 3))
    right = stream(app, "b").with_key(lambda v: str((v or 0) % 3), key=tm.utf8)
    left.join(right, both, within=10, grace=60, how="left").named("j").to("out", key=tm.json)


def self_join(how: Any) -> Callable[[tm.App], object]:
    def program(app: tm.App) -> None:
        a = stream(app)
        a.join(a, both, within=(3, 9), grace=5, how=how).named("j").to("out")

    return program


def of_one_source(app: tm.App) -> None:
    """Join two streams derived from one topic, and join the result again."""
    a = stream(app)
    doubled = a.filter(lambda v: v is not None and v % 2 == 0).map(lambda v: v * 2)
    joined = a.join(doubled, both, within=8, how="outer").named("first")
    joined.join(a, lambda pair, v: [*pair, v], within=(4, 0), grace=3).named("second").to("out")


def windowed_keys(app: tm.App) -> None:
    windows = tm.tumbling(10, grace=20)
    counts = stream(app).group_by_key().window(windows).count().named("counts").to_stream()
    sums = stream(app, "b").group_by_key().window(windows).aggregate(0, lambda s, v: s + (v or 0)).named("sums")
    counts.join(sums.to_stream(), both, within=10, grace=20, how="outer").named("j").to("out")


def stream_table(how: Any) -> Callable[[tm.App], object]:
    def program(app: tm.App) -> None:
        table = app.table("b", key=tm.utf8, value=tm.json)
        a = stream(app)
        a.join(table, both, how=how).named("all").to("out")
        a.join(table.filter(lambda v: v != 6), both, how=how).named("some").to("out_some")

    return program


def table_of_the_stream(app: tm.App) -> None:
    """Join a stream with a table that the same record changes."""
    a = stream(app)
    totals = a.group_by_key().reduce(lambda x, y: None if (x + y) % 5 == 0 else x + y).named("totals")
    a.join(totals, both, how="left").named("own").to("out")
    a.merge(stream(app, "b")).join(totals, both, how="left").named("mixed").to("out_mixed")


def rekeyed_to_table(app: tm.App) -> None:
    table = stream(app, "b").to_table().named("t")
    joined = stream(app).with_key(lambda v: v and "klm"[v % 3]).join(table, both, how="left").named("j")
    joined.to_table().named("newest").to("out", key=tm.json)


def with_global_table(how: Any) -> Callable[[tm.App], object]:
    def program(app: tm.App) -> None:
        table = app.global_table("b", key=tm.utf8, value=tm.json)
        a = stream(app)
        a.join(table, both, how=how).to("out")
        a.join(table, both, on=lambda v: None if v % 4 == 0 else "klm"[v % 3], how=how).to("out_on")

    return program


PROGRAMS: Final[dict[str, Callable[[tm.App], object]]] = {
    "inner join": two_streams("inner", 10, 0),
    "left join": two_streams("left", (10, 5), 12),
    "outer join": two_streams("outer", (6, 10), 4),
    "join at one time": two_streams("outer", 0, 0),
    "inner join, expiring": two_sparse_streams("inner"),
    "outer join, expiring": two_sparse_streams("outer"),
    "join, rekeyed": rekeyed,
    "self join": self_join("inner"),
    "self join, outer": self_join("outer"),
    "join of one source, and of joins": of_one_source,
    "join of windowed keys": windowed_keys,
    "stream-table join": stream_table("inner"),
    "stream-table join, left": stream_table("left"),
    "stream-table join, of one source": table_of_the_stream,
    "global join": with_global_table("inner"),
    "global join, left": with_global_table("left"),
    "stream-table join, rekeyed": rekeyed_to_table,
}
