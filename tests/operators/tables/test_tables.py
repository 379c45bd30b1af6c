"""Tests of table joins, grouped tables and cogroups against plain Python over the current rows; and of errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped
from tidemill.operators.record import Update
from tidemill.operators.serdes.updates import UpdateSerde
from tidemill.operators.tables.table_group import undoable_columns


class Change(NamedTuple):
    topic: str
    key: str
    value: Any


keys = st.sampled_from("klmn")
changes = st.lists(
    st.builds(Change, st.sampled_from("ab"), keys, st.none() | st.integers(0, 5)), min_size=1, max_size=25
)
shops = st.fixed_dictionaries({"g": st.none() | st.sampled_from("xyz"), "n": st.integers(-3, 9)})
rows = st.lists(st.builds(Change, st.just("a"), keys, st.none() | shops), min_size=1, max_size=25)


def table(app: tm.App, topic: str = "a") -> tm.Table[str, Any]:
    return app.table(topic, key=tm.utf8, value=tm.json)


def replayed(app: tm.App, sent: list[Change], partitions: int) -> dict[str, dict[Any, Any]]:
    """Return the final rows of each topic "out..." as a table, and each table."""
    ends: dict[str, dict[Any, Any]] = {"a": {}, "b": {}}
    with tm.testing.TopologyDriver(app, partitions=partitions) as driver:
        for time, (topic, key, value) in enumerate(sent):
            driver.send(topic, key, value, time)
            ends[topic][key] = value
        for topic in [node.topic for node in app.topology().sinks]:
            ends[str(topic)] = {record.key: record.value for record in driver.read(str(topic))}
    return {topic: {key: v for key, v in end.items() if v is not None} for topic, end in ends.items()}


@examples(30)
@given(sent=changes, partitions=st.integers(1, 3), width=st.none() | st.integers(1, 3))
def test_a_table_is_the_same_behind_an_internal_topic(sent: list[Change], partitions: int, width: int | None) -> None:
    app = tm.App("test")
    moved = table(app).repartition(width)
    moved.to("a-again")
    moved.join(table(app, "b").repartition(width), lambda x, y: [x, y]).named("joined").to("both")
    ends = replayed(app, sent, partitions)
    assert ends["a-again"] == ends["a"]
    assert ends["both"] == {key: [x, ends["b"][key]] for key, x in ends["a"].items() if key in ends["b"]}


@examples(60)
@given(sent=changes, partitions=st.integers(1, 3))
def test_joins_give_what_a_join_of_the_rows_gives(sent: list[Change], partitions: int) -> None:
    app = tm.App("test")
    a, b = table(app), table(app, "b")
    a.join(b, lambda x, y: [x, y]).named("inner").to("inner")
    a.left_join(b, lambda x, y: [x, y]).named("left").to("left")
    a.outer_join(b, lambda x, y: [x, y]).named("outer").to("outer")
    ends = replayed(app, sent, partitions)
    left, right = ends["a"], ends["b"]
    expected = {key: [left.get(key), right.get(key)] for key in {*left, *right}}
    assert ends["outer"] == expected
    assert ends["left"] == {key: pair for key, pair in expected.items() if key in left}
    assert ends["inner"] == {key: pair for key, pair in expected.items() if key in left and key in right}


@examples(60)
@given(sent=rows, partitions=st.integers(1, 3))
def test_groups_have_what_their_rows_add_up_to(sent: list[Change], partitions: int) -> None:
    app = tm.App("test")
    groups = table(app).group_by(lambda row: row["g"])
    groups.aggregate(n=tm.count(), total=tm.sum("n"), mean=tm.mean("n")).named("row").to("row")
    groups.count().named("count").to("count")
    of = table(app, "b").group_by(lambda row: row["g"], of=lambda row: row["n"])
    of.reduce(lambda x, y: x + y, lambda x, y: x - y).named("sum").to("sum")
    ends = replayed(app, [*sent, *(Change("b", key, value) for _, key, value in sent)], partitions)
    found = {
        group: [row["n"] for row in ends["a"].values() if row["g"] == group]
        for group in {row.value["g"] for row in sent if row.value is not None} - {None}
    }
    assert ends["count"] == {group: len(values) for group, values in found.items()}
    assert ends["sum"] == {group: sum(values) for group, values in found.items()}
    assert ends["row"] == {
        group: {"n": len(values), "total": sum(values), "mean": sum(values) / len(values) if values else None}
        for group, values in found.items()
    }


def test_a_sum_of_floats_is_nothing_again_when_its_group_is_empty() -> None:
    app = tm.App("test")
    table(app).group_by(lambda v: "all").aggregate(total=tm.sum(lambda v: v), mean=tm.mean(lambda v: v)).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for key, value in (("k", 0.1), ("l", 0.2), ("k", None), ("l", None)):
            driver.send("a", key, value, 0)
        assert driver.read("out")[-1].value == {"total": 0, "mean": None}


def test_a_row_whose_group_fails_is_in_none() -> None:
    app = tm.App("test", on_error=tm.skip)
    table(app).group_by(lambda row: row["g"]).count().to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for value in ({"g": "x"}, {}, {"g": "x"}, {}, {}, {"g": "y"}):
            driver.send("a", "k", value, 0)
        found = [(record.key, record.value) for record in driver.read("out")]
        assert found == [("x", 1), ("x", 0), ("x", 1), ("x", 0), ("y", 1)]
        assert sum(driver.dropped.values()) == 3


def test_joined_and_grouped_tables_are_tables() -> None:
    app = tm.App("test")
    joined = table(app).join(table(app, "b"), lambda x, y: x * y).named("j").in_memory()
    groups = joined.group_by(lambda v: v % 2).count().named("groups")
    groups.join(groups.map(lambda n: -n), lambda x, y: [x, y]).to("out")
    with tm.testing.TopologyDriver(app) as driver:
        for topic, key, value in (("a", "k", 3), ("b", "k", 5), ("b", "l", 1), ("a", "l", 4), ("b", "k", 2)):
            driver.send(topic, key, value, 0)
        assert dict(driver.store("j").items()) == {"k": 6, "l": 4}
        assert driver.store("j").get("k") == 6
        assert dict(driver.store("groups").items()) == {1: 0, 0: 2}
        assert {record.key: record.value for record in driver.read("out")} == {"1": [0, 0], "0": [2, -2]}


def test_a_key_of_another_type_is_another_group() -> None:
    app = tm.App("test")
    table(app).group_by(lambda v: v).count().to("out")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 0)
        driver.send("a", "k", True, 0)
        assert [(r.key, type(r.key), r.value) for r in driver.read("out")] == [
            ("1", str, 1),
            ("1", str, 0),
            ("true", str, 1),
        ]


@given(st.lists(st.none() | st.integers(), min_size=2, max_size=2).filter(lambda pair: pair != [None, None]))
def test_updates_come_back_from_their_bytes(pair: list[int | None]) -> None:
    serde = UpdateSerde(tm.json)
    found = serde.decode(serde.encode(Update(*pair)))
    assert [found.old, found.new] == pair


@pytest.mark.parametrize("data", [b"", b"\x02\x00", b"\x07{}"])
def test_what_is_no_update_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot begin with"):
        UpdateSerde(tm.json).decode(data)


MISTAKES: dict[str, tuple[Callable[[tm.App], object], str]] = {
    "a stream": (lambda app: table(app).join(untyped(app.stream("b")), max), "can be joined with a table"),
    "no function": (lambda app: table(app).left_join(table(app, "b"), untyped(3)), "left_join.. takes a function"),
    "no subtractor": (
        lambda app: table(app).group_by(len).aggregate(0, lambda a, b: a),  # pyright: ignore[reportCallIssue]
        "an initial value, an adder and a subtractor",
    ),
    "nothing": (lambda app: table(app).group_by(len).aggregate(), "takes columns such as"),
    "another program": (lambda app: table(app).join(table(tm.App("other")), max), "different apps"),
    "value without of": (lambda app: table(app).group_by(len, value=tm.json), "there is no of="),
    "a pair": (lambda app: app.stream("a").group_by_key().cogroup(max, untyped(max)), "pairs .grouped, function."),
    "a stream in a cogroup": (
        lambda app: app.stream("a").group_by_key().cogroup(max).cogroup(untyped(app.stream("b")), max),
        "takes a grouped stream",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_while_the_program_is_built(mistake: str) -> None:
    build, message = MISTAKES[mistake]
    with pytest.raises(tm.TopologyError, match=message):
        build(tm.App("test"))


@pytest.mark.parametrize("column", [tm.min("n"), tm.max("n"), tm.first("n"), tm.last("n"), tm.collect("n")])
def test_columns_that_cannot_remove_a_value_are_refused(column: tm.Aggregator[Any]) -> None:
    with pytest.raises(tm.TopologyError, match=f"a {column.kind} cannot subtract the value"):
        undoable_columns({"column": column})


def test_topics_and_stores_are_called_after_the_steps_they_serve() -> None:
    app = tm.App("shop")
    a, b = app.stream("a"), app.stream("b")
    a.group_by(len).cogroup(min).cogroup(b.group_by(len), min).aggregate(b"").named("both").to("out")
    table(app, "t").group_by(len).count().named("groups")
    table(app, "u").join(table(app, "v"), min)
    with tm.testing.TopologyDriver(app) as driver:
        assert sorted(topic.name for topic in driver.plan.internal) == [
            "shop-both-1-repartition",
            "shop-both-2-repartition",
            "shop-both-changelog",
            "shop-groups-changelog",
            "shop-groups-repartition",
            "shop-t-changelog",
            "shop-u-changelog",
            "shop-u-v-join-changelog",
            "shop-v-changelog",
        ]
