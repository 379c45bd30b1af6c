"""Tests of invalid rows with `tm.skip`: each removes only its row until there is a valid one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.functions import checked, table

BAD: Final = 13
TABLES: Final = ("a", "b")


class Change(NamedTuple):
    topic: str
    key: str
    value: int | None


def grouped(app: tm.App) -> Any:
    return table(app).group_by(lambda v: "even" if v in (0, 2, BAD) else "odd", key=tm.utf8)


def numbers(app: tm.App) -> Any:
    """Groups of rows of which the bad ones have a text for a number."""
    return table(app).map(lambda v: {"n": "no" if v == BAD else v}).group_by(lambda row: "all", key=tm.utf8)


def paired(left: Any, right: Any) -> list[Any]:
    return [checked(left), checked(right)]


def totals(so_far: list[Any], value: Any) -> list[Any]:
    return sorted([*so_far, checked(value)])


def without(so_far: list[Any], value: Any) -> list[Any]:
    """Do not fail for an invalid value, which was never added."""
    rest = list(so_far)
    rest.remove(value)
    return rest


PROGRAMS: Final[dict[str, Callable[[tm.App], Any]]] = {
    "filter": lambda app: table(app).filter(lambda v: checked(v) > 1),
    "map": lambda app: table(app).map(lambda v: checked(v) + 1),
    "map, stored, filter": lambda app: table(app).map(checked).stored("m").filter(lambda v: v > 1),
    "filter, map": lambda app: table(app).filter(lambda v: v != 2).map(checked).map(lambda v: v * 2),
    "map, group": lambda app: (
        table(app).map(checked).group_by(lambda v: str(v % 2), key=tm.utf8).aggregate(n=tm.count())
    ),
    "group": lambda app: table(app).group_by(lambda v: str(checked(v) % 2), key=tm.utf8).aggregate(n=tm.count()),
    "group of": lambda app: (
        table(app).group_by(lambda v: "all", of=checked, key=tm.utf8).aggregate([], totals, without)
    ),
    "group key": lambda app: (
        table(app).group_by(lambda v: v if v == BAD else "all", key=tm.utf8).aggregate([], totals, without)  # type: ignore[arg-type]
    ),
    "group row": lambda app: (
        table(app)
        .group_by(lambda v: "all", of=lambda v: "no" if v == BAD else v, key=tm.utf8, value=tm.int64)
        .aggregate([], totals, without, value=tm.json)
    ),
    "reduce": lambda app: grouped(app).reduce(lambda a, b: checked(a) + checked(b), lambda a, b: a - b),
    "aggregate": lambda app: grouped(app).aggregate([], totals, without),
    "columns": lambda app: numbers(app).aggregate(n=tm.count("n"), total=tm.sum("n"), mean=tm.mean("n")),
    "column functions": lambda app: grouped(app).aggregate(n=tm.count(), total=tm.sum(checked)),
    "join": lambda app: table(app).join(table(app, "b"), paired).named("j"),
    "left join": lambda app: table(app).left_join(table(app, "b"), paired).named("j"),
    "outer join": lambda app: table(app).outer_join(table(app, "b"), paired).filter(lambda pair: pair != [1, 1]),
    "join, group": lambda app: (
        table(app)
        .join(table(app, "b"), paired)
        .group_by(lambda pair: str(pair[0]), key=tm.utf8)
        .aggregate(n=tm.count())
    ),
    "foreign key": lambda app: table(app).join(table(app, "b"), on=lambda v: "klmn"[v % 4], function=paired).named("j"),
    "foreign key, left": lambda app: table(app).left_join(
        table(app, "b"), on=lambda v: None if v == 2 else "klmn"[checked(v) % 4], function=paired
    ),
}


def rows_after(program: Callable[[tm.App], Any], sent: list[Change], partitions: int) -> dict[Any, Any]:
    """The rows at the end, without groups in which there is nothing any more."""
    app = tm.App("test", on_error=tm.skip)
    program(app).to("out", value=tm.json)
    read = {topic for source in app.topology().sources for topic in source.topics}
    with tm.testing.TopologyDriver(app, partitions=partitions) as driver:
        for time, (topic, key, value) in enumerate(sent):
            if topic in read:
                driver.send(topic, key, value, time)
        ends = {record.key: record.value for record in driver.read("out")}
    return {key: row for key, row in ends.items() if row and not (isinstance(row, dict) and not row.get("n", 1))}


changes = st.lists(
    st.builds(Change, st.sampled_from("aab"), st.sampled_from("klmn"), st.sampled_from([None, 0, 1, 2, 3, BAD, BAD])),
    min_size=1,
    max_size=20,
)


@pytest.mark.parametrize("name", PROGRAMS)
@examples(20)
@given(sent=changes, partitions=st.integers(1, 2))
def test_the_rows_at_the_end_are_those_of_the_good_rows_that_there_are(
    name: str, sent: list[Change], partitions: int
) -> None:
    last = {(topic, key): value for topic, key, value in sent}
    both = "left" in name or "outer" in name  # a bad row on one side spoils the pair, and is no missing row
    if both and BAD in last.values():
        return
    good = [Change(topic, key, value) for (topic, key), value in last.items() if value not in (None, BAD)]
    assert rows_after(PROGRAMS[name], sent, partitions) == rows_after(PROGRAMS[name], good, partitions)
