"""Tests that keys which serdes decode as lists, dicts and sets can be keys of stores."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tidemill.operators.serdes.hashable import HashableDict, HashableList, check_key_serde, hashable


@dataclass
class Loose:
    id: int


@dataclass(frozen=True)
class Fixed:
    id: int


class Struct(msgspec.Struct):
    id: int


@pytest.mark.parametrize("key", [[1, [2.5, "a"]], {"id": {"of": [1]}, "x": None}, (1, [2]), {1, 2}, [], {}, "a", 7])
def test_a_key_is_equal_hashable_and_written_alike(key: Any) -> None:
    made = hashable(key)
    assert made == key or made == (1, HashableList([2]))
    assert hash(made) == hash(hashable(copy.deepcopy(key)))
    assert pickle.loads(pickle.dumps(made)) == copy.deepcopy(made) == made
    if not isinstance(key, (set, tuple)):
        assert msgspec.json.encode(made) == msgspec.json.encode(key)
        assert json.dumps(made) == json.dumps(key)


def test_a_key_cannot_be_changed() -> None:
    key = hashable([1, {"a": [2]}])
    for change in (
        lambda: key.append(1),
        lambda: key[1].update(a=1),
        key[1]["a"].clear,
        lambda: key.__setitem__(0, 2),
        lambda: key[1].pop("a"),
    ):
        with pytest.raises(TypeError, match="a key cannot be changed: make a copy of it with list"):
            change()
    assert key == [1, {"a": [2]}]
    assert isinstance(key, HashableList)
    assert isinstance(key[1], HashableDict)


def test_exact_serdes_are_unchanged() -> None:
    serdes: list[Any] = [tm.utf8, tm.raw, tm.int64, tm.float64, tm.uuid]
    for serde in serdes:
        assert check_key_serde(serde, "") is serde
    assert repr(check_key_serde(tm.json, "")) == "json"


def test_objects_without_a_hash_are_refused_when_the_program_is_built() -> None:
    app = tm.App("a")
    for model in (Loose, Struct):
        said = rf"source 'in': json\({model.__name__}\) reads .* declare the class"
        with pytest.raises(tm.TopologyError, match=said):
            app.stream("in", key=tm.json(model), value=tm.raw)
    for kind in (Fixed, list[int], dict[str, int], int, tuple[int, str]):
        app.stream(f"in-{getattr(kind, '__name__', 'x')}-{kind is Fixed}", key=tm.json(kind), value=tm.raw)


def test_a_table_with_keys_as_debezium_writes_them() -> None:
    app = tm.App("cdc")
    customers = app.table("customers", key=tm.json, value=tm.json)
    orders = app.stream("orders", key=tm.json, value=tm.json)
    orders.with_key(lambda order: order["customer"], key=tm.json).join(
        customers, lambda order, customer: [order["n"], customer["name"]]
    ).to("out", value=tm.json)
    counts = customers.group_by(lambda row: {"city": row["city"]}, key=tm.json).count().named("by-city")
    counts.to("cities", value=tm.int64)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("customers", {"id": 7}, {"name": "Ada", "city": "Bern"}, timestamp=1)
        driver.send("orders", None, {"n": 1, "customer": {"id": 7}}, timestamp=2)
        assert [(record.key, record.value) for record in driver.read("out")] == [({"id": 7}, [1, "Ada"])]
        assert [(record.key, record.value) for record in driver.read("cities")] == [({"city": "Bern"}, 1)]
        assert driver.store("by-city").get({"city": "Bern"}) == 1
