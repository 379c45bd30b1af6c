"""Tests of the changes of state between two versions of a program."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.engine.plan.store_changes import StoreChange, StoreFacts, VersionFacts, compare, facts_of, verdict


def facts(build: Callable[[tm.Stream[Any, Any]], object]) -> VersionFacts:
    app = tm.App("shop")
    build(app.stream("orders", key=tm.utf8, value=tm.json))
    return facts_of(app.topology())


def found(old: VersionFacts, new: VersionFacts) -> dict[tuple[str, str], tuple[str, str]]:
    return {(change.what, change.name): (change.status, change.former) for change in compare(old, new)}


def grouped(orders: tm.Stream[Any, Any], name: str = "by-item") -> Any:
    return orders.group_by(lambda order: order["item"], key=tm.utf8).named(name)


OLD = facts(lambda orders: (grouped(orders).count().named("totals"), orders.group_by_key().count().named("users")))


def test_all_kinds_of_change() -> None:
    def second(orders: tm.Stream[Any, Any]) -> None:
        orders.group_by(lambda order: order["item"], key=tm.utf8).named("items", was="by-item").count().named(
            "sums", was="totals"
        )
        orders.group_by_key().window(tm.tumbling("1m")).count().named("users")
        orders.group_by(lambda order: order["shop"], key=tm.utf8).named("by-shop").count().named("shops")

    assert found(OLD, facts(second)) == {
        ("store", "sums"): ("renamed", "totals"),
        ("store", "users"): ("incompatible", ""),
        ("store", "shops"): ("new", ""),
        ("repartition", "items"): ("renamed", "by-item"),
        ("repartition", "by-shop"): ("new", ""),
    }
    assert verdict(compare(OLD, facts(second))) == 2


def test_what_stays_and_what_is_dropped() -> None:
    assert set(found(OLD, OLD).values()) == {("kept", "")}
    assert verdict(compare(OLD, OLD)) == 0
    second = facts(lambda orders: orders.group_by_key().count().named("users"))
    assert found(OLD, second) == {
        ("store", "users"): ("kept", ""),
        ("store", "totals"): ("dropped", ""),
        ("repartition", "by-item"): ("dropped", ""),
    }
    assert verdict(compare(OLD, second)) == 1


def test_rows_that_a_join_stores_or_reads_elsewhere() -> None:
    def joined(rows: Callable[[tm.Table[str, Any]], tm.Table[str, Any]]) -> VersionFacts:
        app = tm.App("shop")
        table = rows(app.table("users", key=tm.utf8, value=tm.json))
        app.stream("orders", key=tm.utf8, value=tm.json).join(table, lambda order, user: user).named("enriched")
        return facts_of(app.topology())

    storing, reading = joined(lambda table: table.filter(bool)), joined(lambda table: table)
    assert [(one.name, one.status, one.why) for one in compare(storing, reading)] == [
        ("users", "kept", ""),
        ("enriched", "dropped", "its step reads the rows in 'users'"),
    ]
    assert (verdict(compare(storing, reading)), verdict(compare(reading, storing))) == (0, 1)
    assert [(one.name, one.status, one.why) for one in compare(reading, storing)] == [
        ("users", "kept", ""),
        (
            "enriched",
            "new",
            "it begins empty: its step has read the rows in 'users', and gets those that change from now on",
        ),
    ]


def test_a_former_name_that_is_forgotten() -> None:
    renamed = VersionFacts({"sums": StoreFacts("x", ("totals",))})
    [change] = compare(renamed, VersionFacts({"sums": StoreFacts("x")}))
    assert (change.status, change.why) == (
        "incompatible",
        "its topics may have a name of 'totals', which was= has to keep",
    )
    [change] = compare(renamed, VersionFacts({"all": StoreFacts("x", ("sums", "totals"))}))
    assert (change.status, change.former) == ("renamed", "sums")


def test_what_a_store_holds_may_be_unknown() -> None:
    [change] = compare(VersionFacts({"users": StoreFacts()}), VersionFacts({"users": StoreFacts("count by utf8")}))
    assert change == StoreChange("store", "users", "kept")


names = st.sampled_from("abcd")
versions = st.dictionaries(names, st.builds(StoreFacts, st.sampled_from(["", "x", "y"])), max_size=4)


@examples(200)
@given(versions, versions)
def test_every_store_of_both_is_in_the_comparison_once(old: dict[str, StoreFacts], new: dict[str, StoreFacts]) -> None:
    changes = compare(VersionFacts(old), VersionFacts(new))
    assert sorted(change.name for change in changes) == sorted(old.keys() | new.keys())
    for change in changes:
        known = change.name in old, change.name in new
        assert known == {"new": (False, True), "dropped": (True, False)}.get(change.status, (True, True))


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_verdict_is_the_worst(code: int) -> None:
    changes = [
        StoreChange("store", "a", "kept"),
        StoreChange("store", "b", "dropped", loses=True),
        StoreChange("store", "c", "incompatible"),
    ]
    assert verdict(changes[: code + 1]) == code
