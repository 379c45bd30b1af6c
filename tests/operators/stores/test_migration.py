"""Stored values of earlier versions: those that a class still fits, and those that `migrate=` makes fit, once each."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.examples import examples
from tidemill.operators.dsl.handle import Handle
from tidemill.operators.errors import TopologyError
from tidemill.operators.graph.topology import OperatorState
from tidemill.state.store import NewerFormat, frame, unframe


class Price(msgspec.Struct, frozen=True):
    amount: float
    currency: str = "EUR"


Steps = Callable[[tm.App], Handle]


def reduced(app: tm.App, value: Any = tm.json) -> Handle:
    return app.stream("a", key=tm.utf8, value=value).group_by_key().reduce(lambda one, other: other)


def untyped(app: tm.App) -> Handle:
    stream = app.stream("a", key=tm.utf8, value=tm.json).map(lambda value: value)
    return stream.group_by_key().aggregate(dict, lambda so_far, value: {**so_far, **value})


def windowed(app: tm.App) -> Handle:
    return app.stream("a", key=tm.utf8, value=tm.json).group_by_key().window(tm.tumbling("1m")).reduce(lambda a, b: b)


def session(app: tm.App) -> Handle:
    stream = app.stream("a", key=tm.utf8, value=tm.json)
    return stream.group_by_key().window(tm.session(gap="1m", grace="1m")).reduce(lambda a, b: b)


def throttled(app: tm.App) -> Handle:
    grouped = app.stream("a", key=tm.utf8, value=tm.json).group_by_key()
    return grouped.window(tm.sliding("1m", grace="1m")).emit(tm.every("5s")).reduce(lambda a, b: b)


def table(app: tm.App) -> Handle:
    return app.table("a", key=tm.utf8, value=tm.json)


def rows(app: tm.App) -> Handle:
    prices = app.table("a", key=tm.utf8, value=tm.json).filter(lambda price: True)  # so that the join stores the rows
    return app.stream("b", key=tm.utf8, value=tm.json).join(prices, lambda value, price: price)


def packed(app: tm.App) -> Handle:
    return reduced(app, tm.msgpack)


ALL: list[Steps] = [reduced, untyped, windowed, session, throttled, table, rows, packed]


def state(build: Steps, migrate: Any = None) -> tuple[tm.App, OperatorState]:
    app = tm.App("test")
    build(app).named("s", migrate=migrate)
    [found] = [state for node in app.topology().nodes for state in node.stores if state.spec.name == "s"]
    return app, found


def content(build: Steps, migrate: Any = None, before: Sequence[tuple[bytes, bytes]] = ()) -> list[tuple[bytes, bytes]]:
    """The stored entries after some records, encoded by a version with these migrations."""
    app, _ = state(build, migrate)
    with tm.testing.TopologyDriver(app) as driver:
        for number, key in enumerate(("x", "y", "z")):
            driver.send("a", key=key, value={"price": number + 1}, timestamp=1_000 * number)
        [task] = [task for task in driver._tasks.values() if "rocksdb" in task.stores]
        return list(task.stores["rocksdb"].scan("s", b"", None))


def shown(found: OperatorState, entries: Sequence[tuple[bytes, bytes]]) -> list[Any]:
    codec = found.codec
    pairs = [(codec.decode_key(key), codec.decode_value(unframe(value))) for key, value in entries]
    return [row.value for pair in pairs for row in found.view.dumped(*pair)]


def nested(old: dict[str, Any]) -> dict[str, Any]:
    return {"price": {"amount": old["price"], "currency": "EUR"}}


def flat(old: dict[str, Any]) -> dict[str, Any]:
    return {"amount": old["price"]["amount"], "currency": old["price"]["currency"]}


@pytest.mark.parametrize("build", ALL)
def test_each_value_is_migrated_once_whichever_version_wrote_it(build: Steps) -> None:
    first = content(build)
    assert shown(state(build)[1], first) == [{"price": 1}, {"price": 2}, {"price": 3}]
    for migrate in (nested, [nested]):
        assert shown(state(build, migrate)[1], first) == [
            {"price": {"amount": n, "currency": "EUR"}} for n in (1, 2, 3)
        ]
    last = [{"amount": n, "currency": "EUR"} for n in (1, 2, 3)]
    _, third = state(build, [nested, flat])
    assert shown(third, first) == last
    _, second = state(build, nested)
    rewritten = [(key, again(second, value)) for key, value in first]
    assert shown(second, rewritten) == shown(second, first)
    assert shown(third, rewritten) == last
    assert shown(third, [(key, again(third, value)) for key, value in rewritten]) == last
    untouched = content(build, nested)  # written by the second version from the start: nothing is done to it
    assert shown(second, untouched) == [{"price": 1}, {"price": 2}, {"price": 3}]


def again(found: OperatorState, raw: bytes) -> bytes:
    """A stored value as it is written back after it was read."""
    return frame(found.codec.encode_value(found.codec.decode_value(unframe(raw))))


@pytest.mark.parametrize("build", ALL)
def test_a_version_without_the_migration_refuses_what_had_it(build: Steps) -> None:
    written = content(build, [nested, flat])
    for migrate, count in ((None, "no migrate="), (nested, "the program has 1")):
        with pytest.raises(NewerFormat, match=count):
            shown(state(build, migrate)[1], written)


@given(
    values=st.lists(st.integers(-(1 << 50), 1 << 50), min_size=1, max_size=5),
    versions=st.lists(st.integers(0, 4), max_size=6),
)
@examples(50)
def test_any_history_of_versions_gives_the_same(values: list[int], versions: list[int]) -> None:
    """Versions that only grow, with reads and writes in any order: a value has had each function once."""
    functions: list[Callable[[Any], Any]] = [
        lambda value, n=number: [*(value if isinstance(value, list) else [value]), n] for number in range(4)
    ]
    history = [state(reduced, functions[:count])[1] for count in sorted(versions)]
    plain = state(reduced)[1]
    for value in values:
        raw = frame(plain.codec.encode_value((5, value)))
        for number, version in enumerate(history):
            if (value + number) % 2:
                raw = again(version, raw)
        newest = history[-1] if history else plain
        count = max(versions, default=0)
        assert shown(newest, [(b"k", raw)]) == [[value, *range(count)] if count else value]


def test_old_values_have_the_type_that_the_function_takes() -> None:
    def typed(old: Price) -> dict[str, Any]:
        return {"text": f"{old.amount:.2f} {old.currency}"}

    def then(old: dict[str, Any]) -> Price:
        return Price(float(old["text"].split()[0]) + 1)

    plain = [(b"k", frame(state(reduced)[1].codec.encode_value((5, {"amount": 2}))))]
    assert shown(state(reduced, typed)[1], plain) == [{"text": "2.00 EUR"}]
    model: Steps = lambda app: reduced(app, tm.json(Price))  # noqa: E731
    assert shown(state(model, [typed, then])[1], plain) == [Price(3.0)]


class OldPrice(TypedDict):
    amount: int


def test_old_values_of_a_typed_dict_come_as_they_are() -> None:
    def typed(old: OldPrice) -> dict[str, Any]:
        return {"amount": old["amount"] + 1}

    plain = [(b"k", frame(state(reduced)[1].codec.encode_value((5, {"amount": 2}))))]
    assert shown(state(reduced, typed)[1], plain) == [{"amount": 3}]


def test_objects_without_a_serde_come_as_their_fields() -> None:
    old = msgspec.defstruct("Kept", [("price", int)], module=__name__)
    vars(sys.modules[__name__])["Kept"] = old
    raw = frame(state(untyped)[1].codec.encode_value((5, cast("Any", old)(price=3))))
    new = msgspec.defstruct("Kept", [("amount", float), ("currency", str)], module=__name__)
    vars(sys.modules[__name__])["Kept"] = new
    _, found = state(untyped, lambda fields: {"amount": fields["price"], "currency": "EUR"})
    assert shown(found, [(b"k", raw)]) == [{"amount": 3, "currency": "EUR"}]


def test_a_failure_names_the_store_and_the_value() -> None:
    raw = [(b"k", frame(state(reduced)[1].codec.encode_value((5, {"cost": 1}))))]
    with pytest.raises(TopologyError, match=r"store 's': migrate= fails for the stored value \{'cost': 1\}: KeyError"):
        shown(state(reduced, nested)[1], raw)
    with pytest.raises(TopologyError, match="it returned None"):
        shown(state(reduced, lambda old: None)[1], raw)


async def coroutine(old: Any) -> Any:
    return old


REFUSED: list[tuple[Steps, Any, str]] = [
    (lambda app: app.stream("a").group_by_key().count(), nested, "a count or a column keeps what Tidemill makes of it"),
    (lambda app: app.stream("a").group_by_key().aggregate(n=tm.count()), nested, "add a column with another name"),
    (lambda app: app.stream("a").map(lambda value: value), nested, "this step, a map, keeps no state"),
    (lambda app: app.stream("a").deduplicate("1m"), nested, "a deduplicate, keeps more than a value per key"),
    (reduced, 5, "takes a plain function"),
    (reduced, [coroutine], "takes a plain function"),
    (reduced, [nested] * 256, "takes up to 255 functions"),
]


@pytest.mark.parametrize(("build", "migrate", "message"), REFUSED)
def test_what_makes_no_sense_is_refused(build: Steps, migrate: Any, message: str) -> None:
    with pytest.raises((TopologyError, TypeError), match=message):
        state(build, migrate)


# Without migrate=


def restored(old: Any, new: Any, value: Any, serde: Any = None) -> Any:
    """What a version with the type `new` reads of a value that one with `old` has stored."""
    write = state(lambda app: reduced(app, (serde or tm.json)(old)))[1].codec
    read = state(lambda app: reduced(app, (serde or tm.json)(new)))[1]
    return shown(read, [(b"k", frame(write.encode_value((5, value))))])[0]


def struct(**fields: Any) -> Any:
    given_fields = [(name, *kind) if isinstance(kind, tuple) else (name, kind) for name, kind in fields.items()]
    return msgspec.defstruct("Row", given_fields)


@pytest.mark.parametrize("serde", [tm.json, tm.msgpack])
def test_a_schema_may_gain_fields_lose_fields_and_widen_numbers(serde: Any) -> None:
    old = struct(n=int, name=str)
    gained = restored(old, struct(n=int, name=str, more=(int, 7)), old(1, "a"), serde)
    assert (gained.n, gained.name, gained.more) == (1, "a", 7)
    lost = restored(old, struct(name=str), old(1, "a"), serde)
    assert lost.name == "a"
    widened = restored(old, struct(n=float, name=str | None), old(1, "a"), serde)
    assert (widened.n, type(widened.n)) == (1.0, float)
    assert restored(int, float, 3, serde) == 3.0
    assert restored(int, int | str, 3, serde) == 3


def test_dataclasses_and_declared_results_too() -> None:
    old = dataclasses.make_dataclass("Row", [("n", int), ("gone", str)])
    new = dataclasses.make_dataclass("Row", [("n", float), ("more", int, dataclasses.field(default=7))])
    found = restored(old, new, old(1, "x"))
    assert (found.n, type(found.n), found.more) == (1.0, float, 7)

    def whole(so_far: int, value: Any) -> int:
        return so_far + 1

    def fraction(so_far: float, value: Any) -> float:
        return so_far + 0.5

    def build(function: Any) -> Steps:
        return lambda app: app.stream("a", key=tm.utf8, value=tm.json).group_by_key().aggregate(0, function)

    raw = frame(state(build(whole))[1].codec.encode_value((5, 3)))
    assert shown(state(build(fraction))[1], [(b"k", raw)]) == [3.0]
