"""Tests of joins against models, and of special cases."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.join_models import StreamJoinModel
from tests.support.untyped import untyped
from tidemill import testing

Sent = tuple[str, str | None, int | None, int]

keys = st.sampled_from(["k", "l", "k", "l", "k", "l", None])
values = st.sampled_from([*range(10), None])
steps = st.sampled_from([*range(9), *range(9), 80])
lateness = st.sampled_from([*[0] * 20, *range(1, 21)])


def in_time(items: list[tuple[str, str | None, int | None, int, int]]) -> list[Sent]:
    """Time advances by steps; some records are late."""
    ends = accumulate(step for *_, step, _ in items)
    return [
        (topic, key, value, max(0, end - late)) for (topic, key, value, _, late), end in zip(items, ends, strict=True)
    ]


records = st.lists(st.tuples(st.sampled_from("ab"), keys, values, steps, lateness), min_size=15, max_size=60).map(
    in_time
)
hows = st.sampled_from(["inner", "left", "outer"])


def stream(app: tm.App, topic: str, **options: Any) -> tm.Stream[str, Any]:
    return app.stream(topic, key=tm.utf8, value=tm.json, **options)


def pair(left: Any, right: Any) -> list[Any]:
    return [left, right]


def results(driver: testing.TopologyDriver, topic: str = "out") -> list[tuple[Any, Any, int]]:
    return [(record.key, record.value, record.timestamp) for record in driver.read(topic)]


@examples(150)
@given(
    sent=records,
    how=hows,
    before=st.integers(0, 20),
    after=st.integers(0, 20),
    grace=st.sampled_from([0, 3, 40]),
    scale=st.sampled_from([1, 400]),
)
def test_two_streams(sent: list[Sent], how: Any, before: int, after: int, grace: int, scale: int) -> None:
    """With time stretched, buckets expire."""
    app = tm.App("test")
    within = before * scale, after * scale
    joined = stream(app, "a").join(stream(app, "b"), pair, within=within, grace=grace * scale, how=how).named("j")
    joined.to("out")
    model = StreamJoinModel(*within, grace * scale, how)
    with testing.TopologyDriver(app) as driver:
        for topic, key, value, time in sent:
            driver.send(topic, key, value, time * scale)
            expected = model.add("left" if topic == "a" else "right", key, value, time * scale)
            assert results(driver) == expected, (topic, key, value, time * scale)
        assert sum(driver.dropped.values()) == sum(
            value is None or (key is None and (how == "inner" or (how == "left" and topic == "b")))
            for topic, key, value, _ in sent
        )


@examples(120)
@given(
    sent=records,
    before=st.sampled_from([0, 0, 1, 10]),
    after=st.sampled_from([0, 0, 1, 10]),
    grace=st.sampled_from([0, 0, 1, 12]),
)
def test_records_in_time_find_all_matches_and_nothing_else_is_kept(
    sent: list[Sent], before: int, after: int, grace: int
) -> None:
    """Against a nested loop: who is not older than the newest record of the other side, and who is late by less than
    the grace. What no later record could match is gone from the stores."""
    app = tm.App("test")
    stream(app, "a").join(stream(app, "b"), pair, within=(before, after), grace=grace).named("j").to("out")
    seen: dict[str, list[tuple[int, Any, int]]] = {"a": [], "b": []}
    reach = {"a": (before, after), "b": (after, before)}
    with testing.TopologyDriver(app) as driver:
        for topic, key, value, time in sent:
            if key is None or value is None:
                continue
            driver.send(topic, key, value, time)
            other = seen["b" if topic == "a" else "a"]
            back, ahead = reach[topic]
            newest = max((at for at, *_ in other), default=-1)
            seen[topic].append((time, key, value))
            found = results(driver)
            if time >= newest or time + ahead + grace > newest:
                assert [at for _, _, at in found] == sorted(
                    max(at, time) for at, its, _ in other if its == key and time - back <= at <= time + ahead
                )
        driver.send("a", "k", 0, 50_000)
        driver.send("b", "k", 0, 50_000)
        oldest = 50_000 - 2 * (before + after) - grace - 1
        for name in ("j-left", "j-right"):
            assert all(at >= oldest for _, chunk in driver.store(name).items() for at, _ in chunk)


@examples(60)
@given(sent=records, how=hows, bad=st.sets(st.integers(0, 9), max_size=3))
def test_a_match_that_fails_costs_that_result_alone(sent: list[Sent], how: Any, bad: set[int]) -> None:
    """Each such match is counted; all other results are those of a function that never fails."""

    def fails(left: Any, right: Any) -> bool:
        return None not in (left, right) and left + right in bad

    def checked(left: Any, right: Any) -> list[Any]:
        if fails(left, right):
            raise ValueError("bad")
        return [left, right]

    app = tm.App("test", on_error=tm.skip)
    a, b = stream(app, "a"), stream(app, "b")
    a.join(b, checked, within=(8, 12), grace=9, how=how).named("j").to("out")
    a.join(b, pair, within=(8, 12), grace=9, how=how).to("all")
    with testing.TopologyDriver(app) as driver:
        for topic, key, value, time in sent:
            driver.send(topic, key, value, time)
        whole = results(driver, "all")
        assert results(driver) == [result for result in whole if not fails(*result[1])]
        assert driver.dropped.get(("j", "error"), 0) == sum(fails(*value) for _, value, _ in whole)


def test_many_records_of_one_key() -> None:
    """More than a chunk holds, some of one time, some late: results are by time, then as they came."""
    app = tm.App("test")
    stream(app, "a").join(stream(app, "b"), pair, within=1_000, grace=1_000).to("out")
    model = StreamJoinModel(1_000, 1_000, 1_000, "inner")
    with testing.TopologyDriver(app) as driver:
        for number in range(200):
            time = 5_000 + number * 7 % 60 * 20
            topic, side = ("b", "right") if number % 4 else ("a", "left")
            driver.send(topic, "k", number, time)
            assert results(driver) == model.add(side, "k", number, time)


def test_what_is_expired_is_deleted() -> None:
    app = tm.App("test")
    stream(app, "a").join(stream(app, "b"), pair, within="1s", grace="1s", how="outer").named("j").to("out")
    with testing.TopologyDriver(app) as driver:
        for number in range(500):
            driver.send("ab"[number % 2], f"k{number % 7}", number, number * 200)
        for name in ("j-left", "j-right", "j-unmatched"):
            assert 0 < len(driver.store(name)) < 25


def test_a_record_that_fails_alone_is_blamed_itself() -> None:
    def lone(left: Any, right: Any) -> list[Any]:
        if right is None and left == 1:
            raise ValueError("one alone")
        return [left, right]

    app = tm.App("test", on_error=tm.skip)
    stream(app, "a").join(stream(app, "b"), lone, within=5, how="left").named("j").to("out")
    with testing.TopologyDriver(app) as driver:
        for value in (0, 1, 2):
            driver.send("a", "k", value, 10)
        driver.send("b", "k", 3, 30)
        driver.send("a", "k", 4, 30)
        assert results(driver) == [("k", [0, None], 10), ("k", [2, None], 10), ("k", [4, 3], 30)]
        assert driver.dropped == {("j", "error"): 1}
    app = tm.App("test")
    stream(app, "a").join(stream(app, "b"), lone, within=5, how="left").named("j").to("out")
    with testing.TopologyDriver(app) as driver:
        driver.send("a", "k", 1, 10)
        with pytest.raises(tm.RecordError, match="'j' of task 0_0 could not join a record: ValueError: one alone"):
            driver.send("b", "k", 3, 30)


def test_records_meet_whatever_partition_they_were_in() -> None:
    """One side is keyed by its topic, the other re-keyed: the repartition writes keys as the topic has them."""
    app = tm.App("test")
    right = stream(app, "b").with_key(lambda v: v["user"]).map(lambda v: v["n"])
    app.stream("a", key=tm.json, value=tm.json).join(right, pair, within=10).named("j").to("out")
    with testing.TopologyDriver(app, partitions={"a": 5, "b": 3}) as driver:
        for number in range(40):
            driver.send("a", f"user {number}", number, 100)
        for number in range(40):
            driver.send("b", f"other {number}", {"user": f"user {number}", "n": -number}, 100)
        assert sorted(results(driver)) == sorted((f"user {n}", [n, -n], 100) for n in range(40))
        assert [topic.name for topic in driver.plan.internal if topic.kind == "repartition"] == [
            "test-j-right-repartition"
        ]


def test_a_left_record_without_a_key_survives_the_repartition() -> None:
    app = tm.App("test")
    left = stream(app, "a").with_key(lambda v: None if v == 0 else "k")
    left.join(stream(app, "b"), pair, within=10, how="left").named("j").to("out")
    with testing.TopologyDriver(app, partitions=3) as driver:
        driver.send("a", "x", 0, 1)
        assert results(driver) == [(None, [0, None], 1)]
        assert driver.dropped == {}


@pytest.mark.parametrize("how", ["inner", "left"])
@examples(60)
@given(sent=records)
def test_a_stream_and_a_table(how: Any, sent: list[Sent]) -> None:
    app = tm.App("test")
    table = app.table("b", key=tm.utf8, value=tm.json, name="t")
    stream(app, "a").join(table, pair, how=how).named("j").to("out")
    rows: dict[str | None, int | None] = {}
    with testing.TopologyDriver(app) as driver:
        for topic, key, value, time in sent:
            driver.send(topic, key, value, time)
            expected: list[Any] = []
            if topic == "b":
                rows[key] = value if key is not None else None
            elif value is not None and (how == "left" or rows.get(key) is not None):
                expected = [(key, [value, rows.get(key)], time)]
            assert results(driver) == expected


def test_a_table_of_the_stream_itself() -> None:
    """The record that changes a row sees what it changed."""
    app = tm.App("test")
    a = stream(app, "a")
    a.join(a.group_by_key().count().named("n"), pair).named("j").to("out")
    with testing.TopologyDriver(app) as driver:
        driver.send_all("a", [tm.Record("k", value, 1) for value in "xyz"])
        assert results(driver) == [("k", ["x", 1], 1), ("k", ["y", 2], 1), ("k", ["z", 3], 1)]


@pytest.mark.parametrize("how", ["inner", "left"])
@examples(60)
@given(sent=records)
def test_a_stream_and_a_global_table(how: Any, sent: list[Sent]) -> None:
    """The key comes from the value; the partitions of the table are its own."""
    app = tm.App("test")
    table = app.global_table("b", key=tm.utf8, value=tm.json)
    stream(app, "a").join(table, pair, on=lambda v: [None, "k", "l"][v % 3], how=how).named("j").to("out")
    rows: dict[str | None, int | None] = {}
    with testing.TopologyDriver(app, partitions={"a": 3, "b": 5}) as driver:
        for topic, key, value, time in sent:
            driver.send(topic, key, value, time)
            expected: list[Any] = []
            if topic == "b":
                rows[key] = value if key is not None else None
            elif value is not None:
                row = rows.get([None, "k", "l"][value % 3])
                expected = [(key, [value, row], time)] if how == "left" or row is not None else []
            assert results(driver) == expected
        assert dict(driver.store("b").items()) == {key: row for key, row in rows.items() if row is not None}


def test_a_global_table_by_the_key_of_the_record() -> None:
    """Any key that the table's serde can write may be looked up, one that cannot be hashed too."""
    app = tm.App("test", on_error=tm.skip)
    table = app.global_table("t", key=tm.json, value=tm.json).named("rows").in_memory()
    a = app.stream("a", key=tm.json, value=tm.json)
    a.join(table, pair).named("own").to("out")
    a.join(table, pair, on=lambda v: v["at"]).named("chosen").to("out_chosen")
    with testing.TopologyDriver(app, partitions=4) as driver:
        driver.send("t", {"x": 1}, "one", 5)
        driver.send("t", [2], "two", 5)
        driver.send("a", {"x": 1}, {"at": [2]}, 7)
        assert results(driver) == [({"x": 1}, [{"at": [2]}, "one"], 7)]
        assert results(driver, "out_chosen") == [({"x": 1}, [{"at": [2]}, "two"], 7)]
        driver.send("a", 1, {"at": None}, 7)
        assert driver.dropped == {("chosen", "null key"): 1}
        assert list(driver.store("rows").items()) == [([2], "two"), ({"x": 1}, "one")]
        assert driver.store("rows").get([2]) == "two"


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (lambda a, b, t: a.join(b, pair), r"needs within=, such as within='5m'"),
        (lambda a, b, t: a.join(b, pair, within="5"), r"\.join\(within=\): '5' is not a duration; it has no unit"),
        (lambda a, b, t: a.join(b, pair, within=("5s",)), r"a duration or a pair \(before, after\), not \('5s',\)"),
        (lambda a, b, t: a.join(b, pair, within=5, grace=-1), r"\.join\(grace=\): -1 must not be negative"),
        (lambda a, b, t: a.join(b, pair, within=5, how="right"), r"takes 'inner', 'left', 'outer' here, not 'right'"),
        (lambda a, b, t: a.join(b, None, within=5), r"\.join\(\) takes a function, not None"),
        (lambda a, b, t: a.join(t, pair, how="outer"), r"takes 'inner', 'left' here, not 'outer'"),
        (lambda a, b, t: a.join(t, pair, within=5), r"\.join\(\) with a table takes no within="),
        (lambda a, b, t: a.join("b", pair), r"\.join\(\) takes a stream or a table, not 'b'"),
        (
            lambda a, b, t: a.join(
                t.to_stream().group_by_key().window(tm.tumbling(5)).count().to_stream(), pair, within=5
            ),
            r"keys of one kind, either without windows or all in windows of one size",
        ),
    ],
)
def test_what_is_refused(join: Any, message: str) -> None:
    app = tm.App("test")
    table = app.table("t", key=tm.utf8, value=tm.json)
    with pytest.raises(tm.TopologyError, match=message):
        join(stream(app, "a"), stream(app, "b"), table)


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (lambda a, g: a.join(g, pair, how="outer"), r"takes 'inner', 'left' here, not 'outer'"),
        (lambda a, g: a.join(g, pair, on="k"), r"\.join\(on=\) takes a function, not 'k'"),
        (lambda a, g: a.join(g, pair, within=5), r"\.join\(\) with a global table takes no within="),
        (lambda a, g: a.join(a, pair, within=5, on=len), r"\.join\(\) with a stream takes no on="),
    ],
)
def test_what_is_refused_of_global_tables(join: Any, message: str) -> None:
    app = tm.App("test")
    table = app.global_table("g", key=tm.utf8, value=tm.json)
    with pytest.raises(tm.TopologyError, match=message):
        join(stream(app, "a"), table)


def test_global_tables_alone_are_no_program() -> None:
    app = tm.App("test")
    app.global_table("g")
    with pytest.raises(tm.TopologyError, match="the program reads nothing"):
        app.topology()
    with pytest.raises(tm.TopologyError, match=r"app\.global_table\(\) reads one topic, not \['a', 'b'\]"):
        app.global_table(untyped(["a", "b"]))
    stream(app, "g").to("out")
    with pytest.raises(tm.TopologyError, match="topic 'g' is read by two sources"):
        testing.TopologyDriver(app)


def test_a_join_with_another_program() -> None:
    with pytest.raises(tm.TopologyError, match="its inputs belong to different apps"):
        stream(tm.App("one"), "a").join(tm.App("two").global_table("g"), pair)
    with pytest.raises(tm.TopologyError, match="its inputs belong to different apps"):
        stream(tm.App("one"), "a").join(stream(tm.App("two"), "b"), pair, within=5)


def test_topics_with_unlike_partitions() -> None:
    app = tm.App("test")
    stream(app, "a").join(stream(app, "b"), pair, within=5).to("out")
    with pytest.raises(tm.TopologyError, match="'a-b-join' needs topics partitioned alike, but 'a' has 2"):
        testing.TopologyDriver(app, partitions={"a": 2, "b": 3})
