"""Which joins read the rows of a table in its store, and which store them again; both have the same results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.plan.kept_names import with_kept_names
from tidemill.engine.plan.plan import partition, plan
from tidemill.operators.errors import TopologyError
from tidemill.testing import TopologyDriver

Build = Callable[[tm.App], Any]


def stream(app: tm.App, topic: str = "s") -> tm.Stream[str, Any]:
    return app.stream(topic, key=tm.utf8, value=tm.json)


def table(app: tm.App, topic: str = "t") -> tm.Table[str, Any]:
    return app.table(topic, key=tm.utf8, value=tm.json)


def both(left: Any, right: Any) -> Any:
    return [left, right]


async def same(value: Any) -> Any:
    return value


def counts(app: tm.App) -> tm.Table[str, Any]:
    return stream(app, "t").group_by_key().count()


def with_own_rows(records: tm.Stream[str, Any], change: Callable[[Any], Any] = lambda records: records) -> Any:
    return change(records).join(records.to_table(), both)


def with_itself(rows: tm.Table[str, Any]) -> Any:
    return rows.join(rows, both, on=str)


READING: dict[str, Build] = {
    "a table": lambda app: stream(app).join(table(app), both),
    "another key": lambda app: stream(app).with_key(str, key=tm.utf8).join(table(app), both, how="left"),
    "a result": lambda app: stream(app).join(counts(app), both),
    "columns": lambda app: stream(app).join(stream(app, "t").group_by_key().aggregate(n=tm.count()), both),
    "behind steps without state": lambda app: stream(app).join(stream(app, "t").filter(bool).to_table(), both),
    "rows in groups": lambda app: stream(app).join(table(app).group_by(str, key=tm.utf8).count(), both),
    "filtered, and stored again": lambda app: stream(app).join(table(app).filter(bool).stored("rows"), both),
    "behind a repartition": lambda app: stream(app).join(stream(app, "t").repartition().to_table(), both),
    "the stream waits": lambda app: stream(app).map_async(same).join(table(app), both),
    "of one topic, with another key": lambda app: with_own_rows(stream(app), lambda s: s.with_key(str, key=tm.utf8)),
    "foreign key": lambda app: table(app, "s").join(table(app), both, on=str),
    "its own foreign key": lambda app: with_itself(table(app)),
}

STORING: dict[str, Build] = {
    "filtered": lambda app: stream(app).join(table(app).filter(bool), both),
    "mapped": lambda app: stream(app).join(table(app).map(str), both),
    "held back": lambda app: stream(app).join(table(app).suppress(until="1s"), both),
    "versioned": lambda app: stream(app).join(app.table("t", key=tm.utf8, value=tm.json, history="1h"), both),
    "sent at the commit": lambda app: stream(app).join(stream(app, "t").group_by_key().emit("commit").count(), both),
    "sent later": lambda app: stream(app).join(stream(app, "t").map_async(same).to_table(), both),
    "a result of another join": lambda app: stream(app).join(table(app).join(table(app, "u"), both), both),
    "of one topic": lambda app: with_own_rows(stream(app)),
    "one topic of two": lambda app: with_own_rows(stream(app), lambda s: s.merge(stream(app, "u"))),
    "a filtered foreign table": lambda app: table(app, "s").join(table(app).filter(bool), both, on=str),
}


@pytest.mark.parametrize("build", READING.values(), ids=READING)
def test_rows_are_stored_once(build: Build) -> None:
    app = tm.App("test")
    build(app).named("j")
    [node] = [node for node in app.topology().nodes if node.spared]
    assert len(node.reads) == 1
    [store] = node.spared
    assert store in ("j", "j-subscribers-rows")
    assert store not in {state.spec.name for node in app.topology().nodes for state in node.stores}


@pytest.mark.parametrize("build", STORING.values(), ids=STORING)
def test_rows_are_stored_again(build: Build) -> None:
    app = tm.App("test")
    build(app).named("j")
    assert not any(node.spared for node in app.topology().nodes)
    assert {"j", "j-subscribers-rows"} & {state.spec.name for node in app.topology().nodes for state in node.stores}


def test_the_names_after_a_join_do_not_depend_on_where_its_rows_are() -> None:
    def names(rows: Callable[[tm.App], tm.Table[str, Any]]) -> set[str]:
        app = tm.App("test")
        stream(app).join(rows(app), both).group_by(str, key=tm.utf8).count()
        with TopologyDriver(app) as driver:
            return {topic.name for topic in driver.plan.internal}

    assert names(table) == {
        "test-t-changelog",
        "test-t-s-join-count-repartition",
        "test-t-s-join-count-changelog",
    }
    assert names(lambda app: table(app).filter(bool)) == names(table) | {"test-t-s-join-changelog"}


def test_a_value_is_as_the_table_has_it() -> None:
    """A join's function may change what it gets, and a result has parts of its own."""
    app = tm.App("test")

    def changing(value: Any, row: Any) -> Any:
        row["n"] = row.get("n", 0) + 1
        return row

    rows = stream(app, "t").group_by_key().aggregate(dict, lambda so_far, value: {**so_far, **value})
    stream(app).join(rows, changing).to("out")
    stream(app, "u").join(table(app, "v"), changing).to("out")
    with TopologyDriver(app) as driver:
        for source, reader in (("t", "s"), ("v", "u")):
            driver.send(source, key="k", value={"a": [1]})
            for _ in range(2):
                driver.send(reader, key="k", value=0)
        assert [record.value for record in driver.read("out")] == [{"a": [1], "n": 1}] * 4


def test_a_renamed_table_is_read_under_the_name_it_is_kept() -> None:
    app = tm.App("test")
    stream(app).join(table(app).named("new", was="old"), both).named("j", was="i").to("out")
    [node] = [node for node in app.topology().nodes if node.spared]
    assert (node.reads, node.spared) == (("new",), ("j", "i"))
    kept = with_kept_names(partition(app.topology()), "test", {"test-old-changelog"})
    made = plan(kept, "test", {"s": 1, "t": 1})
    assert [state.spec.name for state in made.subtopologies[0].stores] == ["old"]


def test_migrations_of_the_rows_are_those_of_the_table() -> None:
    def migrated(value: Any) -> Any:
        return value

    app = tm.App("test")
    stream(app).join(table(app).named("rows", migrate=migrated), both).named("j", migrate=migrated)
    app.topology()
    other = tm.App("test")
    stream(other).join(table(other).named("rows"), both).named("j", migrate=migrated)
    with pytest.raises(TopologyError, match="a join, reads the rows of its table: give the table these functions"):
        other.topology()
