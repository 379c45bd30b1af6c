"""Small programs for the operators of tables: joins, grouped tables, cogroups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import tidemill as tm
from tests.support.functions import added, appended, checked, stream, table


def paired(left: Any, right: Any) -> Any:
    """Return both values, or None (a deletion) if they are equal; fail if the left is 13."""
    return None if checked(left) == right else [left, right]


def removed(so_far: list[Any], value: Any) -> list[Any]:
    """Remove a value in place, then fail for 13."""
    if value in so_far:
        so_far.remove(value)
    checked(value)
    return so_far


def bracketed(so_far: list[Any], value: Any) -> list[Any]:
    return appended(so_far, [checked(value)])


def table_join(how: str) -> Callable[[tm.App], None]:
    def program(app: tm.App) -> None:
        a, b = table(app), table(app, "b")
        joined = getattr(a, how)(b, paired).named("j")
        joined.to("out")
        joined.filter(lambda pair: pair[0] != 7).map(lambda pair: pair[::-1]).stored("kept").to("out_chain")
        joined.group_by(lambda pair: str(pair[1])).count().to("out_groups")

    return program


def windowed_join(app: tm.App) -> None:
    a, b = (
        stream(app, topic).group_by_key().window(tm.tumbling(10, grace=5)).reduce(added).named(topic) for topic in "ab"
    )
    a.outer_join(b, paired).named("j").to("out")
    a.join(b, lambda x, y: [checked(x), y]).named("i").filter(lambda pair: pair[0] != 7).to("out_inner")


def table_joins_itself(app: tm.App) -> None:
    a = table(app)
    a.join(a.map(lambda v: checked(v) + 1).filter(lambda v: v % 3), paired).to("out")


def table_groups(app: tm.App) -> None:
    rows = table(app).group_by(lambda v: None if v == 2 else str(checked(v) % 3), key=tm.utf8)
    rows.count().named("count").to("out_count")
    rows.reduce(added, lambda a, b: a - b).named("sum").to("out_sum")
    rows.aggregate(list, appended, removed).named("list").to("out_list")
    row = rows.aggregate(n=tm.count(), total=tm.sum(checked), mean=tm.mean(lambda v: v)).named("row")
    row.filter(lambda row: row["n"] > 1).to("out_row")


def groups_of(app: tm.App) -> None:
    rows = table(app).group_by(lambda v: v % 2, of=lambda v: None if v == 3 else [checked(v)])
    rows.aggregate("", lambda so_far, v: f"{so_far}+{v}"[-9:], lambda so_far, v: f"{so_far}-{v}"[-9:]).to("out")


def cogroup(app: tm.App) -> None:
    a, b = stream(app).group_by_key(), stream(app, "b").group_by(lambda v: v and str(checked(v)), key=tm.utf8)
    a.cogroup(appended).cogroup(b, bracketed).aggregate(list).filter(len).to("out")


def windowed_cogroup(windows: tm.TimeWindows, when: Any) -> Callable[[tm.App], None]:
    def program(app: tm.App) -> None:
        a, b = stream(app).group_by_key(), stream(app, "b").group_by_key()
        table = a.cogroup(appended, (b, bracketed)).window(windows).emit(when).aggregate(list)
        table.filter(lambda seen: len(seen) > 1).to("out")

    return program


def as_of(how: str, grace: int) -> Callable[[tm.App], None]:
    def program(app: tm.App) -> None:
        rows = app.table("a", key=tm.utf8, value=tm.json, history=25)
        rows.filter(lambda v: checked(v) > 4).to("out_rows")
        source: Any = stream(app, "b")
        source.join(rows, paired, as_of=True, how=how, grace=grace).named("j").to("out")

    return program


def table_and_itself_as_of(app: tm.App) -> None:
    source = stream(app)
    table = source.filter(lambda v: v is None or v % 3).to_table(history=30).named("t")
    source.join(table, paired, as_of=True, grace=4).to("out")


class Versioned(tm.Processor[str, Any, Any]):
    """Put versions, some of them into the past, and fail after that."""

    rows = tm.VersionedState(list, history=20)

    def process(self, value: Any, ctx: tm.Context[str]) -> list[Any]:
        back = 0 if value is None else value
        until = self.rows.put(None if value is None else [value], max(ctx.timestamp - back, 0))
        checked(value)
        return [[until, self.rows.get(), self.rows.version(ctx.timestamp - 8)]]


PROGRAMS: Final[dict[str, Callable[[tm.App], object]]] = {
    "join of tables": table_join("join"),
    "left join of tables": table_join("left_join"),
    "outer join of tables": table_join("outer_join"),
    "join of tables by window": windowed_join,
    "join of a table with itself": table_joins_itself,
    "join as of": as_of("inner", 0),
    "join as of, with grace": as_of("left", 10),
    "join with what the stream itself was": table_and_itself_as_of,
    "versions": lambda app: stream(app).process(Versioned).named("p").to("out"),
    "groups of rows": table_groups,
    "groups of parts of rows": groups_of,
    "cogroup": cogroup,
    "windowed cogroup": windowed_cogroup(tm.tumbling(10, grace=5), "update"),
    "windowed cogroup, overlapping": windowed_cogroup(tm.hopping(10, every=4, grace=5), "update"),
    "windowed cogroup, on close": windowed_cogroup(tm.tumbling(10, grace=5), "close"),
}
