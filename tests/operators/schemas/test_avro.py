"""Tests of Avro: round trips of random models and values, schema evolution, and refused schemas."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import json
from typing import Annotated, Any, NamedTuple

import msgspec
import pydantic
import pytest
from hypothesis import given
from typing_extensions import NotRequired, TypedDict

import tidemill as tm
from tests.support.examples import examples
from tests.support.random_models import Case, evolutions, models
from tidemill.operators.schemas.avro import Avro
from tidemill.operators.schemas.avro_types import avro_schema
from tidemill.operators.schemas.local import LocalKey, local_value
from tidemill.operators.schemas.schema import Schema


def form(model: Any = Any, schema: Any = None) -> Avro:
    return Avro(model, schema, None, {})


def schema_of(avro: Avro) -> Schema:
    assert avro.schema is not None
    return avro.schema


def written(avro: Avro, value: Any) -> bytes:
    return avro.writer(schema_of(avro))(value)


def round_trip(model: Any, value: Any) -> Any:
    avro = form(model)
    return avro.reader(schema_of(avro))(written(avro, value))


@examples(100)
@given(models())
def test_values_of_random_models_come_back(case: Case) -> None:
    assert round_trip(case.model, case.value) == case.value


@examples(100)
@given(models())
def test_values_of_random_models_come_back_from_stores(case: Case) -> None:
    local = local_value(case.model)
    assert local.decode(local.encode(case.value)) == case.value


@examples(100)
@given(models())
def test_keys_of_random_models_come_back_and_have_the_bytes_of_equal_keys(case: Case) -> None:
    key = LocalKey(case.model, "key")
    again = key.decode(key.encode(case.value))
    assert again == case.value
    assert key.encode(again) == key.encode(case.value)


@examples(100)
@given(evolutions())
def test_a_later_model_reads_what_an_earlier_one_wrote(evolution: tuple[Case, Any, dict[str, Any]]) -> None:
    case, later, defaults = evolution
    old, new = form(case.model), form(later)
    read = new.reader(schema_of(old))(written(old, case.value))
    expected = {name: getattr(case.value, name) for name in later.__struct_fields__ if name in case.fields}
    assert read == later(**expected, **defaults)


@examples(100)
@given(evolutions())
def test_a_later_model_reads_stores_and_keys_of_an_earlier_one(evolution: tuple[Case, Any, dict[str, Any]]) -> None:
    case, later, defaults = evolution
    expected = later(
        **{name: getattr(case.value, name) for name in later.__struct_fields__ if name in case.fields}, **defaults
    )
    assert local_value(later).decode(local_value(case.model).encode(case.value)) == expected
    assert LocalKey(later, "key").decode(LocalKey(case.model, "key").encode(case.value)) == expected


class Key(msgspec.Struct, frozen=True):
    id: int


class LaterKey(msgspec.Struct, frozen=True):
    region: str = "eu"
    id: int = 0


def test_a_field_that_is_added_to_a_key_leaves_the_bytes_of_older_keys() -> None:
    old, new = LocalKey(Key, "key"), LocalKey(LaterKey, "key")
    assert new.encode(LaterKey(id=7)) == old.encode(Key(7))
    assert new.encode(LaterKey("us", 7)) != old.encode(Key(7))
    assert new.decode(old.encode(Key(7))) == LaterKey("eu", 7)


def test_a_plain_key_has_the_bytes_of_its_model_and_can_be_looked_up() -> None:
    plain = LocalKey(Any, "key")
    assert plain.encode({"id": 7}) == LocalKey(Key, "key").encode(Key(7))
    assert plain.encode({"b": 1, "a": [2, {"c": None}]}) == plain.encode({"a": [2, {"c": None}], "b": 1})
    key = plain.decode(plain.encode({"a": [2, {"c": None}], "b": 1}))
    assert key == {"a": [2, {"c": None}], "b": 1}
    assert {key: 1}[key] == 1
    assert plain.encode("ann") == tm.utf8.encode("ann")


class Created(msgspec.Struct):
    id: int


class Deleted(msgspec.Struct):
    id: int
    why: str = ""


class Event(msgspec.Struct):
    what: Created | Deleted | str | None
    before: list[Created | Deleted] = []


@dataclasses.dataclass
class Node:
    value: int
    next: Node | None = None


class Pair(NamedTuple):
    left: str
    right: float


class Loose(TypedDict):
    a: int
    b: NotRequired[str]


class Shade(enum.Enum):
    DARK = "dark"
    LIGHT = "light"


class Model(pydantic.BaseModel):
    when: dt.datetime
    price: decimal.Decimal = pydantic.Field(max_digits=8, decimal_places=2)
    shades: list[Shade] = []
    inner: Model | None = None


NOW = dt.datetime(2024, 5, 1, 12, 30, 1, 250, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (Event, Event(Deleted(1, "x"), [Created(1), Deleted(2)])),
        (Event, Event(Created(1))),
        (Event, Event(None)),
        (Event, Event("text")),
        (Node, Node(1, Node(2, Node(3)))),
        (Pair, Pair("a", 1.0)),
        (Loose, {"a": 1, "b": "x"}),
        (Model, Model(when=NOW, price=decimal.Decimal("1.25"), shades=[Shade.DARK])),
        (Model, Model(when=NOW, price=decimal.Decimal("1.25"), inner=Model(when=NOW, price=decimal.Decimal("0.01")))),
        (int, 7),
        (str, "x"),
        (dict[str, list[int]], {"a": [1]}),
        (int | float | str, 1),
        (int | float | str, 1.0),
    ],
)
def test_models_of_each_kind(model: Any, value: Any) -> None:
    again = round_trip(model, value)
    assert again == value
    assert type(again) is type(value)
    local = local_value(model)
    assert local.decode(local.encode(value)) == value


def test_plain_objects_are_written_by_a_schema_that_is_given() -> None:
    schema = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        ],
    }
    avro = form(schema=schema)
    value = {"at": NOW.replace(microsecond=5000), "tags": ["a"]}
    assert avro.name == "Order"
    assert avro.reader(schema_of(avro))(written(avro, value)) == value
    assert form().reader(schema_of(avro))(written(avro, value)) == value


def test_a_schema_may_refer_to_others() -> None:
    address = json.dumps(
        {"type": "record", "name": "Address", "namespace": "shop", "fields": [{"name": "city", "type": "string"}]}
    )
    schema = {
        "type": "record",
        "name": "shop.Customer",
        "fields": [{"name": "home", "type": "Address"}, {"name": "work", "type": ["null", "shop.Address"]}],
    }
    avro = Avro(Any, schema, None, {"shop.Address": ("address-value", 1, address)})
    value = {"home": {"city": "Ulm"}, "work": {"city": "Bonn"}}
    assert avro.reader(schema_of(avro))(written(avro, value)) == value


class Narrow(msgspec.Struct):
    id: str
    other: int


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ([{"name": "id", "type": "string"}], "the field 'other' has no default in this program"),
        (
            [{"name": "id", "type": "long"}, {"name": "other", "type": "int"}],
            "the field 'id' is string in this program and long in the writer",
        ),
        (
            [{"name": "id", "type": ["null", "string"]}, {"name": "other", "type": "int"}],
            "the field 'id' is string in this program and null or string in the writer: allow None there",
        ),
    ],
)
def test_a_schema_that_cannot_be_read_names_the_field(schema: Any, said: str) -> None:
    theirs = form(schema={"type": "record", "name": "Theirs", "fields": schema})
    value = {"id": None if "null" in str(schema) else 7 if "long" in str(schema) else "x", "other": 1}
    with pytest.raises(ValueError, match=said):
        form(Narrow).reader(schema_of(theirs))(written(theirs, value))


def test_data_that_is_cut_off_or_too_long_is_not_a_value() -> None:
    avro = form(Created)
    read, data = avro.reader(schema_of(avro)), written(avro, Created(300))
    with pytest.raises(ValueError, match="ends before"):
        read(data[:-1])
    with pytest.raises(ValueError, match="1 bytes are left"):
        read(data + b"x")


def test_a_time_without_a_zone_is_refused() -> None:
    class At(msgspec.Struct):
        at: dt.datetime

    with pytest.raises(ValueError, match="has no time zone"):
        written(form(At), At(NOW.replace(tzinfo=None)))


class Odd(msgspec.Struct):
    span: dt.timedelta


class Money(msgspec.Struct):
    amount: decimal.Decimal


class Named(msgspec.Struct):
    level: Annotated[int, msgspec.Meta(extra={"avro": "int"})] = 3


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (Odd, "the field 'span' of Odd is of type timedelta, for which Avro has no type"),
        (Money, "the field 'amount' of Money is a Decimal, and Avro has to know its digits"),
        (dict[int, str], "for which Avro has no type"),
    ],
)
def test_a_type_without_a_schema_is_refused_with_a_remedy(model: Any, said: str) -> None:
    with pytest.raises(tm.TopologyError, match=said):
        avro_schema(model, None, "avro(X)")


def test_a_type_of_avro_can_be_declared() -> None:
    assert avro_schema(Named, "shop", "x")["fields"] == [{"name": "level", "type": "int", "default": 3}]


def test_keys_without_a_hash_are_refused() -> None:
    with pytest.raises(tm.TopologyError, match="declare the class frozen"):
        LocalKey(Created, "avro(Created)")
    with pytest.raises(tm.TopologyError, match="union of several records"):
        LocalKey(Key | LaterKey, "avro(X)")
