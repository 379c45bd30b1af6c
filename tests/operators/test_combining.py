"""Tests of records that are combined before a repartition topic, for aggregates with results at the commit.

That the results are those of single records is tested in `tests/random_programs/test_combined.py`, too.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.random_programs.test_combined import one_by_one
from tests.random_programs.world import World
from tests.support.examples import examples
from tidemill.engine.plan.description import as_text, logical
from tidemill.engine.plan.plan import partition, plan
from tidemill.operators.aggregates import combining
from tidemill.operators.aggregates.combining import Combine
from tidemill.operators.graph.codecs import decoder
from tidemill.operators.graph.combined import COMBINED, Partial
from tidemill.operators.graph.topology import Repartition
from tidemill.operators.record import Batch, Row

TOPIC = "p-rows-repartition"


class Sale(msgspec.Struct):
    item: str
    price: float


def sales(app: tm.App) -> tm.Stream[str, Any]:
    return app.stream("a", key=tm.utf8, value=tm.json)


def item(value: Any) -> Any:
    return value["item"]


def price(value: Any) -> Any:
    return value["price"]


def columns() -> dict[str, Any]:
    return {"n": tm.count(), "sum": tm.sum("price"), "mean": tm.mean("price"), "least": tm.min("price")} | {
        "first": tm.first("at"),
        "last": tm.last("at"),
        "all": tm.collect("at"),
    }


def rows(app: tm.App) -> Any:
    return sales(app).group_by(item, key=tm.utf8).emit("commit").aggregate(**columns()).named("rows")


def combines(program: Callable[[tm.App], Any]) -> bool:
    app = tm.App("test")
    program(app).to("out")
    return any(node.combines for node in app.topology().nodes)


def by_item(app: tm.App) -> Any:
    return sales(app).group_by(item, key=tm.utf8)


def read_twice(app: tm.App) -> Any:
    grouped = by_item(app)
    grouped.emit("commit").count().named("more").to("more")
    return grouped.emit("commit").count().named("rows")


def with_something_between(app: tm.App) -> Any:
    return sales(app).with_key(item, key=tm.utf8).repartition().filter(price).group_by_key().emit("commit").count()


COMBINED_PROGRAMS: dict[str, Callable[[tm.App], Any]] = {
    "count": lambda app: by_item(app).emit("commit").count(),
    "columns": rows,
    "with a key": lambda app: sales(app).with_key(item, key=tm.utf8).group_by_key().emit("commit").count(),
    "a topic of its own": lambda app: sales(app).repartition().group_by_key().emit("commit").count(),
}
OTHERS: dict[str, Callable[[tm.App], Any]] = {
    "results at once": lambda app: by_item(app).count(),
    "no topic": lambda app: sales(app).group_by_key().emit("commit").count(),
    "windows": lambda app: by_item(app).window(tm.tumbling(10)).emit("commit").count(),
    "reduce": lambda app: by_item(app).emit("commit").reduce(lambda one, other: one),
    "a function": lambda app: by_item(app).emit("commit").aggregate(0, lambda total, value: total, value=tm.int64),
    "sketches": lambda app: by_item(app).emit("commit").aggregate(n=tm.count(), top=tm.top(2, by="price")),
    "two readers": read_twice,
    "something between": with_something_between,
    "rows": lambda app: app.table("a", value=tm.json).group_by(item, key=tm.utf8).emit("commit").count(),
}


@pytest.mark.parametrize("name", [*COMBINED_PROGRAMS, *OTHERS])
def test_which_programs_combine(name: str) -> None:
    assert combines({**COMBINED_PROGRAMS, **OTHERS}[name]) == (name in COMBINED_PROGRAMS)


def test_the_description_shows_the_step() -> None:
    app = tm.App("test")
    rows(app).to("out")
    lines = [line.split() for line in as_text(logical("test", app.topology())).splitlines()]
    assert ["rows", "combine", "<-", "a"] in lines
    assert ["rows", "repartition", "<-", "rows", "->", "an", "internal", "topic"] in lines


def sold(item: Any, price: Any, at: int, key: bytes = b"k") -> Row:
    value = None if item is None else msgspec.json.encode({"item": item, "price": price, "at": at})
    return key, value, at, [("at", b"%d" % at)], -1


def written(world: World, topic: str = TOPIC) -> list[tuple[Any, ...]]:
    """The rows in a repartition topic: key, whether it is combined, time and headers."""
    found = [row for (name, _), rows in sorted(world._logs.items()) if name == topic for row in rows]
    return [(row[0], COMBINED in (row[3] or ()), row[2], row[3]) for row in found if row[0] is not None]


def test_a_key_is_written_once_a_commit_in_the_order_of_the_last_record() -> None:
    app = tm.App("p")
    rows(app).to("out", value=tm.json)
    world = World(app)
    world.send("a", [sold("pen", 1, 5), sold("cup", 2, 9), sold("pen", 3, 3)])
    assert written(world) == []
    world.commit()
    head = [("at", b"3"), COMBINED]
    assert written(world) == [(b"cup", True, 9, [("at", b"9"), COMBINED]), (b"pen", True, 5, head)]
    [out] = world.outputs.values()
    assert [(row[0], row[2], row[3]) for row in out] == [(b"cup", 9, [("at", b"9")]), (b"pen", 5, [("at", b"3")])]
    assert msgspec.json.decode(out[1][1] or b"") == {
        "n": 2,
        "sum": 4,
        "mean": 2.0,
        "least": 1,
        "first": 5,
        "last": 3,
        "all": [5, 3],
    }
    world.commit()
    assert len(written(world)) == 2, "nothing is held after a commit"


def test_records_that_cannot_be_combined_are_written_alone_and_in_order() -> None:
    app = tm.App("p", on_error=tm.skip)
    rows(app).to("out", value=tm.json)
    world = World(app)
    world.send("a", [sold("pen", 1, 1), sold("pen", "dear", 2), sold("cup", 1, 3), sold("pen", 2, 4)])
    assert [row[:3] for row in written(world)] == [(b"pen", True, 1), (b"pen", False, 2)]
    world.commit()
    assert [row[:3] for row in written(world)][2:] == [(b"cup", True, 3), (b"pen", True, 4)]
    assert world.drops() == {("rows", "error"): 1}
    assert [value["all"] for _, value in world.items("rows")] == [[3], [1, 4]]


def test_the_failing_record_is_reported_with_its_place() -> None:
    app = tm.App("p")
    rows(app).to("out", value=tm.json)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", {"item": "pen", "price": 1, "at": 1}, 1)
        with pytest.raises(tm.RecordError, match=r"rows-repartition.*offset 1"):
            driver.send("a", "k", {"item": "pen", "price": "dear", "at": 1}, 2)


def test_a_key_that_fails_is_reported_by_the_repartition() -> None:
    app = tm.App("p")
    rows(app).to("out", value=tm.json)
    place = r"step 'rows'.*write.*topic 'a', partition 0, offset 0"
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError, match=place):
        driver.send("a", "k", {"price": 1}, 1)


def test_there_is_a_bound_on_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combining, "MOST", 3)
    app = tm.App("p")
    rows(app).to("out", value=tm.json)
    for size in (1, 2, 8):
        world = World(app)
        for begin in range(0, 8, size):
            world.send("a", [sold(f"i{at % 2}", at, at) for at in range(begin, begin + size)])
        found = [(row[0], row[2]) for row in written(world)]
        assert found == [(b"i1", 1), (b"i0", 2), (b"i0", 4), (b"i1", 5)], "wherever the input is cut"


class Sent(NamedTuple):
    item: str
    price: float
    partition: int


SENT = st.builds(
    Sent, st.sampled_from("uvw"), st.floats(-1e6, 1e6) | st.integers(-(1 << 70), 1 << 70), st.integers(0, 2)
)


@given(pieces=st.lists(st.lists(SENT, max_size=12), min_size=1, max_size=6), seed=st.integers(0, 1 << 20))
@examples(60)
def test_the_result_is_that_of_some_order_of_the_partitions(pieces: list[list[Sent]], seed: int) -> None:
    """Tasks run in any order, die between commits, and others take over."""
    random = Random(seed)
    app = tm.App("p")
    rows(app).to("out", value=tm.json)
    world = World(app, 3, random)
    sent: dict[str, list[list[int]]] = {}
    prices: list[float] = []
    committed = True
    for piece in pieces:
        while committed and random.random() < 0.3:
            world.send("a", [sold(one.item, one.price, -2) for one in piece])
            random.choice([lambda: world.roll_back(sealed=True), lambda: (world._undo(), world.restore())])()
        for one in piece:
            row = sold(one.item, one.price, len(prices))
            world.send("a", [(row[0], row[1], row[2], row[3], one.partition)])
            sent.setdefault(one.item, [[], [], []])[one.partition].append(len(prices))
            prices.append(one.price)
        committed = random.random() < 0.7
        if committed:
            world.commit()
    world.commit()
    found = dict(world.items("rows"))
    assert found.keys() == sent.keys()
    for name, row in found.items():
        order = row["all"]
        assert sorted(order) == sorted(at for of_one in sent[name] for at in of_one)
        for of_one in sent[name]:
            assert [at for at in order if at in of_one] == of_one, "the order in a partition is kept"
        total: Any = None
        for at in order:
            total = prices[at] if total is None else total + prices[at]
        expected = len(order), total, total / len(order), min(prices[at] for at in order)
        assert (row["n"], row["sum"], row["mean"], row["least"]) == expected, "exactly"
        assert (row["first"], row["last"]) == (order[0], order[-1])


def test_values_are_combined_as_they_are_behind_the_topic() -> None:
    """There a tuple is a list, and an object is one of the class."""

    def kind(value: Any) -> str:
        return type(value).__name__

    app = tm.App("p")
    changed = sales(app).map(lambda value: (value["price"], "x"), value=tm.json)
    changed.group_by(lambda value: "all", key=tm.utf8).emit("commit").aggregate(kind=tm.last(kind)).named("rows").to(
        "o"
    )
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("a", "k", {"price": 1}, 1)
        assert driver.read("o")[0].value == {"kind": "list"}


@pytest.mark.parametrize("serde", [tm.json, tm.json(Sale), tm.auto, tm.utf8, tm.int64, tm.msgpack])
def test_an_earlier_version_cannot_take_a_combined_record_for_another(serde: Any) -> None:
    app = tm.App("p")
    app.stream("a", value=serde).repartition().group_by_key().emit("commit").count().named("rows").to("out")
    node = next(node for node in app.topology().nodes if isinstance(node, Repartition))
    assert node.value is not None
    with pytest.raises(Exception, match=r".+"):
        serde.decode(node.value.encode(Partial((3,))))


def batch(*values: Any) -> Batch:
    """Records of a topic, each with its headers."""
    size = len(values)
    raws, headers = [value for value, _ in values], [found for _, found in values]
    return Batch(TOPIC, 0, [b"k"] * size, raws, [1] * size, list(range(size)), headers, 0)


def repartition_of(program: Callable[[tm.App], Any]) -> Repartition:
    app = tm.App("p")
    program(app).to("out")
    return next(node for node in app.topology().nodes if isinstance(node, Repartition))


def test_records_of_an_earlier_version_are_read_beside_combined_ones() -> None:
    node = repartition_of(lambda app: by_item(app).emit("commit").count().named("rows"))
    assert node.value is not None
    combined = node.value.encode(Partial((3,)))
    head = (("h", b"1"),)
    read = decoder(node).decode(batch((b"[1]", head), (combined, (*head, COMBINED)), (None, ()), (b"2", ())), 0)
    assert [record.value for record in read] == [[1], Partial((3,)), None, 2]
    assert [record.headers for record in read] == [head, head, (), ()]
    later = (("tidemill-combined", b"2"),)
    with pytest.raises(tm.RecordError, match="later version"):
        decoder(node).decode(batch((b"\xc1\x02...", later)), 0)


def test_combined_records_are_read_without_emit_on_commit_and_by_no_other_step() -> None:
    at_once = repartition_of(lambda app: by_item(app).count().named("rows"))
    assert at_once.value is not None
    records = batch((at_once.value.encode(Partial((3,))), (COMBINED,)))
    assert decoder(at_once).decode(records, 0)[0].value == Partial((3,))
    assert not at_once.combined
    other = repartition_of(lambda app: by_item(app).reduce(lambda one, other: one).named("rows"))
    with pytest.raises(tm.TopologyError, match="run the program as it was"):
        decoder(other).decode(records, 0)


def test_versions_with_and_without_combining_do_not_run_together() -> None:
    """As members with other versions of a sub-topology: the writer and the reader both are another version."""

    def hashes() -> list[str]:
        app = tm.App("p")
        rows(app).to("out")
        return [part.fingerprint for part in plan(partition(app.topology()), "p", {"a": 1}).subtopologies]

    together = hashes()
    with one_by_one():
        alone = hashes()
    assert len(together) == 2
    assert not set(together) & set(alone)


def operator() -> Combine:
    app = tm.App("p")
    rows(app).to("out")
    node = next(node for node in app.topology().nodes if node.combines)
    made = node.build({})
    assert isinstance(made, Combine)
    return made


def test_the_oldest_record_that_is_held() -> None:
    step = operator()
    assert step.oldest_waiting() is None

    def record(time: int) -> tm.Record[Any, Any]:
        return tm.Record("k", {"item": "pen", "price": 1, "at": 0}, time)

    step.process([record(7), record(5), record(9)], 0)
    assert step.oldest_waiting() == 5
    assert [one.timestamp for one in step.before_commit(0)] == [9]
    assert step.oldest_waiting() is None


def test_time_downstream_waits_for_records_that_are_held() -> None:
    app = tm.App("p")
    source = app.stream("a", key=tm.utf8, value=tm.json, watermark=tm.bounded("0s"))
    counts = source.group_by(item, key=tm.utf8).emit("commit").count().named("rows").to_stream()
    counts.group_by_key().window(tm.tumbling(10)).emit("close").count().named("closed").to("out")
    world = World(app)
    for name, at in (("u", 1), ("v", 2), ("v", 15), ("w", 31)):
        world.send("a", [sold(name, 1, at)])
    assert not world.outputs
    world.commit()
    for at in (50, 90):
        world.send("a", [sold("u", 1, at)])
        world.commit()
    assert world.drops() == {}
    found = [row for rows in world.outputs.values() for row in rows]
    assert [(row[1], row[2]) for row in found] == [(b"1", 1), (b"1", 15), (b"1", 31), (b"1", 50)]


@pytest.mark.parametrize("serde", [None, tm.json, tm.int64, tm.float64])
def test_keys_are_one_if_their_bytes_are(serde: Any) -> None:
    keys = [2, 2.0, True, 1, "2"] if serde in (None, tm.json) else [2, 2, 1, 1]
    app = tm.App("p", on_error=tm.skip)
    by_price = sales(app).group_by(price, key=serde)
    by_price.emit("commit").aggregate(all=tm.collect("at")).named("rows").to("out", value=tm.json)
    found: list[Any] = []
    for alone in (False, True):
        if alone:
            with one_by_one():
                world = World(app)
        else:
            world = World(app)
        world.send("a", [sold("x", key, at) for at, key in enumerate([*keys, *keys])])
        world.commit()
        found.append(list(world.outputs.values()))
    assert found[0] == found[1]
