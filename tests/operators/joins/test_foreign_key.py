"""Joins by foreign key end as a join of the rows at the end would, however left, right and the topics between them are
interleaved; and what is sent on the way.
"""

from __future__ import annotations

from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tests.support.untyped import untyped
from tidemill.operators.joins.foreign_key import (
    DELETE_KEY_AND_PROPAGATE,
    PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE,
    Subscription,
    SubscriptionResponse,
)
from tidemill.operators.joins.foreign_key_steps import ResponseSerde, SubscriptionSerde


class Change(NamedTuple):
    topic: str
    key: str
    value: Any


class Interleaved:
    """A driver whose tasks advance one record at a time, in random order, and whose topics deliver at random times."""

    def __init__(self, app: tm.App, partitions: dict[str, int], random: Random) -> None:
        self.driver = tm.testing.TopologyDriver(app, partitions=partitions)
        self.random = random
        self.held: dict[str, list[Any]] = {}
        self.outputs: list[tuple[str, Any]] = []

    def run(self, changes: list[Change], partition_of: Any = None) -> None:
        for time, (topic, key, value) in enumerate(changes):
            node: Any = self.driver._readers[topic]
            place = -1 if partition_of is None or topic != "a" else partition_of(key)
            row = (key.encode(), None if value is None else node.value.encode(value), time, None, place)
            self.held.setdefault(topic, []).append(row)
        while self._one_move():
            pass

    def _one_move(self) -> bool:
        tasks = list(self.driver._tasks.values())
        self.random.shuffle(tasks)
        if self.held and self.random.random() < 0.6:
            self._deliver()
            return True
        for task in tasks:
            outgoing = task.advance(0, 1)
            if outgoing is not None:
                for topic, rows, *_ in outgoing:
                    if topic in self.driver._readers:
                        self.held.setdefault(topic, []).extend(rows)
                    else:
                        self.driver._topics.write(topic, rows)
                return True
        if self.held:
            self._deliver()
            return True
        return False

    def _deliver(self) -> None:
        topic = self.random.choice(list(self.held))
        rows = self.held[topic]
        self.driver._deliver(topic, [rows.pop(0)])
        if not rows:
            del self.held[topic]

    def end(self, topic: str) -> dict[Any, Any]:
        found = {record.key: record.value for record in self.driver.read(topic)}
        return {key: value for key, value in found.items() if value is not None}


orders = st.fixed_dictionaries({"customer": st.none() | st.sampled_from("xxy"), "n": st.integers(0, 9)})
changes = st.lists(
    st.builds(Change, st.just("a"), st.sampled_from("kkl"), st.none() | orders)
    | st.builds(Change, st.just("b"), st.sampled_from("xxy"), st.none() | st.integers(0, 1)),
    min_size=4,
    max_size=14,
)

seeds = st.integers(0, 2**32).map(Random)


def program(app: tm.App) -> None:
    a, b = (app.table(topic, key=tm.utf8, value=tm.json) for topic in "ab")

    def paired(left: Any, right: Any) -> Any:
        return [left["n"], right]

    inner = a.join(b, paired, on=lambda row: row["customer"]).named("inner")
    inner.to("inner")
    a.left_join(b, paired, on=lambda row: row["customer"]).named("left").to("left")
    inner.group_by(lambda pair: str(pair[1]), key=tm.utf8).count().named("groups").to("groups")


def joined(changes: list[Change]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The joins of the rows that there are at the end."""
    left: dict[str, Any] = {}
    right: dict[str, Any] = {}
    for topic, key, value in changes:
        (left if topic == "a" else right)[key] = value
    every = {k: [row["n"], right.get(row["customer"])] for k, row in left.items() if row is not None}
    return {k: pair for k, pair in every.items() if pair[1] is not None}, every


@examples(150)
@given(changes, st.integers(1, 3), st.integers(1, 3), seeds)
def test_the_end_is_a_join_of_the_rows_at_the_end(changes: list[Change], a: int, b: int, random: Random) -> None:
    app = tm.App("test")
    program(app)
    run = Interleaved(app, {"a": a, "b": b}, random)
    run.run(changes)
    inner, left = joined(changes)
    assert run.end("inner") == inner
    assert run.end("left") == left
    assert dict(run.driver.store("inner").items()) == inner
    groups = [str(pair[1]) for pair in inner.values()]
    assert {g: n for g, n in run.end("groups").items() if n} == {g: groups.count(g) for g in groups}


@examples(40)
@given(changes, st.sets(st.integers(0, 14)))
def test_rebuilding_changes_nothing_and_cuts_change_what_is_overtaken_only(
    changes: list[Change], cuts: set[int]
) -> None:
    found = [cut(changes, cuts, rebuild=rebuild) for rebuild in (False, True)]
    assert found[0] == found[1]
    for _, ends in (found[0], cut(changes, set(range(15)), rebuild=True)):
        assert tuple({key: v for key, v in end.items() if v is not None} for end in ends) == joined(changes)


def cut(changes: list[Change], cuts: set[int], *, rebuild: bool) -> Any:
    """All that is sent, and the ends of both joins, with the input cut into batches at the places given."""
    app = tm.App("test", on_error=tm.skip)
    program(app)
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        batch: list[Any] = []
        for place, change in enumerate(changes):
            batch.append(tm.Record(change.key, change.value, place))
            if place + 1 in cuts or place + 1 == len(changes) or changes[place + 1].topic != change.topic:
                driver.send_all(change.topic, batch)
                batch = []
                for task in driver._tasks.values() if rebuild else ():
                    for partition in task.discard():
                        task.caught_up(partition, True)
        sent = {topic: driver.read(topic) for topic in ("inner", "left", "groups")}
        return sent, [{record.key: record.value for record in sent[topic]} for topic in ("inner", "left")]


def test_a_row_whose_foreign_key_fails_takes_no_part() -> None:
    app = tm.App("test", on_error=tm.skip)
    program(app)
    with tm.testing.TopologyDriver(app) as driver:
        good, bad = {"customer": "x", "n": 1}, {"n": 2}
        for topic, key, value in (("b", "x", 0), ("a", "k", good), ("a", "k", bad), ("b", "x", 1), ("a", "k", good)):
            driver.send(topic, key, value, 0)
        assert [record.value for record in driver.read("inner")] == [[1, 0], None, [1, 1]]
        assert [record.value for record in driver.read("left")] == [[1, 0], None, [1, 1]]
        assert sum(driver.dropped.values()) == 2


@examples(25)
@given(changes, seeds)
def test_answers_find_rows_that_are_not_where_their_keys_say(changes: list[Change], random: Random) -> None:
    app = tm.App("test")
    program(app)
    run = Interleaved(app, {"a": 3, "b": 2}, random)
    run.run(changes, partition_of="lmk".index)
    assert (run.end("inner"), run.end("left")) == joined(changes)


@examples(25)
@given(st.lists(st.tuples(st.sampled_from("klm"), st.none() | st.sampled_from("klm")), max_size=15), seeds)
def test_a_table_refers_to_itself(sent: list[tuple[str, str | None]], random: Random) -> None:
    app = tm.App("test")
    people = app.table("a", key=tm.utf8, value=tm.json)
    people.join(people, lambda boss, bosses_boss: bosses_boss, on=lambda boss: boss).named("bosses").to("out")
    run = Interleaved(app, {"a": 2}, random)
    run.run([Change("a", key, value) for key, value in sent])
    bosses = {key: value for key, value in sent if value is not None}
    for key, value in sent:
        if value is None:
            bosses.pop(key, None)
        else:
            bosses[key] = value
    assert run.end("out") == {key: bosses[boss] for key, boss in bosses.items() if boss in bosses}


def test_tables_that_come_of_groups_are_joined() -> None:
    app = tm.App("test")
    a, b = (app.stream(topic, key=tm.utf8, value=tm.json) for topic in "ab")
    left = a.group_by(lambda v: v["k"], key=tm.utf8).reduce(lambda _x, y: y).named("left")
    right = b.group_by(lambda v: v["k"], key=tm.utf8).window(tm.tumbling(10)).count().named("right")
    left.join(right, lambda v, n: [v["k"], n], on=lambda v: tm.Windowed(v["shop"], v["day"], v["day"] + 10)).to("out")
    with tm.testing.TopologyDriver(app, partitions={"a": 3, "b": 2}) as driver:
        for number in range(8):
            driver.send("a", "?", {"k": f"k{number}", "shop": f"s{number % 3}", "day": 10 * (number % 2)}, 0)
        for time in (1, 2, 11):
            for shop in range(3):
                driver.send("b", "?", {"k": f"s{shop}"}, time)
        found = {record.key: record.value for record in driver.read("out")}
        assert found == {f"k{n}": [f"k{n}", 1 if n % 2 else 2] for n in range(8)}


@pytest.mark.parametrize("stored", [True, False])
def test_its_parts_are_called_after_it(stored: bool) -> None:
    """The right rows are stored again if they are not those in the store of their table."""
    app = tm.App("test")
    a, b = (app.table(topic, key=tm.utf8, value=tm.json) for topic in "ab")
    a.join(b if stored else b.filter(lambda row: True), max, on=lambda row: row).in_memory()
    again = [] if stored else ["a-b-join-subscribers-rows"]
    with tm.testing.TopologyDriver(app) as driver:
        assert sorted(topic.name for topic in driver.plan.internal) == [
            "test-a-b-join-changelog",
            "test-a-b-join-responses-repartition",
            "test-a-b-join-subscribers-changelog",
            *(f"test-{store}-changelog" for store in again),
            "test-a-b-join-subscriptions-repartition",
            "test-a-changelog",
            "test-b-changelog",
        ]
        kinds = {state.spec.name: state.spec.kind for part in driver.plan.subtopologies for state in part.stores}
        assert {name for name, kind in kinds.items() if kind == "memory"} == {
            "a-b-join",
            "a-b-join-subscribers",
            *again,
        }


def test_what_is_no_join_is_refused() -> None:
    app = tm.App("test")
    a, b = (app.table(topic, key=tm.utf8, value=tm.json) for topic in "ab")
    with pytest.raises(TypeError, match="positional"):
        untyped(a).join(b, lambda row: row, max)
    with pytest.raises(TypeError, match="'function'"):
        untyped(a).join(b)


@given(st.none() | st.binary(min_size=16, max_size=16), st.text(), st.booleans(), st.none() | st.integers())
def test_messages_come_back_from_their_bytes(version: bytes | None, key: str, quiet: bool, row: int | None) -> None:
    asked = Subscription(PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE if quiet else DELETE_KEY_AND_PROPAGATE, 7, version, key)
    serde = SubscriptionSerde(tm.utf8)
    assert serde.decode(serde.encode(asked)) == asked
    answered = SubscriptionResponse(quiet, version, row)
    assert ResponseSerde(tm.json).decode(ResponseSerde(tm.json).encode(answered)) == answered
