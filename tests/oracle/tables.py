"""The programs of the recorded cases of tables: table joins, grouped tables, cogroups, versioned stores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import tidemill as tm
from tests.oracle.common import AGG, Params, both, source, table, text

REFUSED: Final = -(1 << 63)


def table_table(app: tm.Builder, params: Params) -> None:
    a, b = table(app, "a"), table(app, "b")
    join = {"inner": a.join, "left": a.left_join, "outer": a.outer_join}[params["how"]]
    join(b, both).named("j").to("out")


def foreign_key(app: tm.Builder, params: Params) -> None:
    a, b = table(app, "a"), table(app, "b")
    join = {"inner": a.join, "left": a.left_join}[params["how"]]
    join(b, lambda left, right: both(left["n"], right), on=lambda left: left["fk"]).named("j").to("out")


def table_group(app: tm.Builder, params: Params) -> None:
    groups = table(app, "a").group_by(lambda row: row["g"], of=lambda row: row["n"])
    match params["op"]:
        case "count":
            grouped: tm.Table[Any, Any] = groups.count()
        case "reduce":
            grouped = groups.reduce(lambda a, b: a + b, lambda a, b: a - b)
        case _:
            grouped = groups.aggregate("", lambda so_far, n: f"{so_far}+{n}", lambda so_far, n: f"{so_far}-{n}")
    grouped.named(AGG).to("out")


def append(so_far: str, value: Any) -> str:
    return so_far + text(value)


def append_in_brackets(so_far: str, value: Any) -> str:
    return f"{so_far}[{text(value)}]"


def cogroup(app: tm.Builder, params: Params) -> None:
    a, b = source(app, "a").group_by_key(), source(app, "b").group_by_key()
    together = a.cogroup(append).cogroup(b, append_in_brackets)
    if "size" in params:
        windows = tm.tumbling(params["size"], grace=params["grace"])
        together.window(windows).aggregate("").named(AGG).to("out")
    else:
        together.aggregate("").named(AGG).to("out")


def versioned_get(app: tm.Builder, params: Params) -> None:
    class Looking(tm.Processor[str, Any, Any]):
        v = tm.VersionedState(int, history=params["history"], name="v")

        def process(self, value: Any, ctx: tm.Context[str]) -> list[Any]:
            until = self.v.put(value, ctx.timestamp)
            put = -1 if until is None else REFUSED if until == ctx.timestamp else until
            return [{"put": put, "as_of": self.seen(ctx.timestamp - params["back"]), "latest": self.seen(None)}]

        def seen(self, as_of: int | None) -> list[Any] | None:
            version = self.v.version(as_of)
            return None if version is None else [version.value, version.valid_from]

    keyed = source(app, "a").flat_map_record(lambda r: [] if r.key is None else [r], key=tm.utf8, value=tm.json)
    keyed.process(Looking).named("p").to("out")


def stream_versioned(app: tm.Builder, params: Params) -> None:
    rows = table(app, "t", history=params["history"])
    joined = source(app, "a").join(rows, both, as_of=True, how=params["how"], grace=params.get("grace", 0))
    joined.named("j").to("out")


TABLES: Final[dict[str, Callable[[tm.Builder, Params], None]]] = {
    "cogroup": cogroup,
    "foreign_key": foreign_key,
    "stream_versioned": stream_versioned,
    "table_group": table_group,
    "table_table": table_table,
    "versioned_get": versioned_get,
}
