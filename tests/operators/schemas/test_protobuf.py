"""Tests of Protobuf: messages of a file by their indexes, in all forms of the file in a registry."""

from __future__ import annotations

import base64
import uuid
from typing import Any

import pytest
from confluent_kafka.schema_registry._sync.protobuf import _create_index_array
from confluent_kafka.schema_registry.common.serde import SchemaId
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

import tidemill as tm
from tests.support.encoded import send_bytes
from tests.support.examples import examples
from tidemill.operators.schemas.framing import CONFLUENT, indexes_bytes, read_indexes
from tidemill.operators.schemas.protobuf import MessageKey, Protobuf, message_name


def classes(package: str) -> dict[str, Any]:
    """Classes of a file with several messages, one inside another, and of a file that it imports."""
    shared = descriptor_pb2.FileDescriptorProto(name=f"{package}/shared.proto", package=package, syntax="proto3")
    shared.message_type.add(name="City").field.add(name="name", number=1, type=9, label=1)
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}/orders.proto", package=package, syntax="proto3")
    file.dependency.append(shared.name)
    file.message_type.add(name="Other").field.add(name="x", number=1, type=9, label=1)
    order = file.message_type.add(name="Order")
    order.field.add(name="user", number=1, type=9, label=1)
    order.field.add(name="amount", number=2, type=1, label=1)
    order.field.add(name="city", number=3, type=11, label=1, type_name=f".{package}.City")
    order.nested_type.add(name="Empty")
    order.nested_type.add(name="Line").field.add(name="pieces", number=1, type=3, label=1)
    pool = descriptor_pool.DescriptorPool()
    for each in (shared, file):
        pool.AddSerializedFile(each.SerializeToString())
    names = ("Other", "Order", "Order.Line", "City")
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in names}


SHOP = classes("shop")
PROTO = """
// message Commented { }
syntax = "proto3";
package shop; /* message Hidden {} */
import "google/protobuf/timestamp.proto";
option java_package = "message Quoted { }";
message Other { string x = 1; }
message Order {
  enum Kind { NONE = 0; }
  message Empty { }
  oneof message_of { string user = 1; string other = 4; }
  message Line { int64 pieces = 1; message Deep { } }
}
service Orders { rpc Get (Other) returns (Order) { } }
message Last { }
"""


@pytest.mark.parametrize(
    ("indexes", "name"),
    [
        ((0,), "shop.Other"),
        ((1,), "shop.Order"),
        ((1, 0), "shop.Order.Empty"),
        ((1, 1), "shop.Order.Line"),
        ((1, 1, 0), "shop.Order.Line.Deep"),
        ((2,), "shop.Last"),
    ],
)
def test_messages_of_a_file_as_text(indexes: tuple[int, ...], name: str) -> None:
    assert message_name(PROTO, indexes) == name


@pytest.mark.parametrize("indexes", [(3,), (0, 0), (-1,)])
def test_a_message_that_the_file_has_not(indexes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no message with the indexes"):
        message_name(PROTO, indexes)


@pytest.mark.parametrize("name", ["Other", "Order", "Order.Line"])
def test_messages_have_the_indexes_of_confluent(name: str) -> None:
    form = Protobuf(SHOP[name])
    theirs = _create_index_array(SHOP[name].DESCRIPTOR)
    assert form.indexes == indexes_bytes(theirs)
    assert message_name(form.schema.text, tuple(theirs)) == f"shop.{name}"


@examples(100)
@given(st.integers(0, 2**31 - 1), st.lists(st.integers(0, 2**20), min_size=1, max_size=5))
def test_the_wire_format_is_that_of_confluent(schema_id: int, indexes: list[int]) -> None:
    written = CONFLUENT.prefix(schema_id) + indexes_bytes(indexes)
    assert written == SchemaId("PROTOBUF", schema_id, message_indexes=indexes).id_to_bytes()
    assert read_indexes(written + b"data", 5) == (tuple(indexes), len(written))


@pytest.fixture
def registry() -> tm.SchemaRegistry:
    return tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}")


def order(user: str, amount: float = 1.0) -> Any:
    return SHOP["Order"](user=user, amount=amount, city=SHOP["City"](name="Ulm"))


def test_a_topology_with_messages_as_keys_and_values(registry: tm.SchemaRegistry) -> None:
    app = tm.App("shop")
    orders = app.stream("orders", key=registry.protobuf(SHOP["Order.Line"]), value=registry.protobuf(SHOP["Order"]))
    orders.to("copy")
    orders.group_by_key().window(tm.tumbling("1m")).count().to("counts", value=tm.json)
    orders.group_by_key().reduce(lambda _, new: new).named("newest").to("newest")
    orders.group_by(lambda each: each.city, key=registry.protobuf(SHOP["City"])).count().named("by-city").to(
        "cities", value=tm.json
    )
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        key = SHOP["Order.Line"](pieces=3)
        for user in ("ann", "bob"):
            driver.send("orders", key=key, value=order(user), timestamp=1)
        copies = driver.read("copy")
        assert [record.value for record in copies] == [order("ann"), order("bob")]
        assert copies[0].key == key
        assert copies[0].key.pieces == 3
        assert [record.value for record in driver.read("counts")] == [1, 2]
        assert driver.read("newest")[-1].value == order("bob")
        assert driver.store("newest").get(MessageKey(key)) == order("bob")
        assert [(record.key.name, record.value) for record in driver.read("cities")] == [("Ulm", 1), ("Ulm", 2)]


def test_a_message_of_another_kind_is_not_read(registry: tm.SchemaRegistry) -> None:
    """Other would be read as Order without an error, since both begin with a text."""
    app = tm.App("shop")
    app.stream("orders", value=registry.protobuf(SHOP["Order"])).to("copy")
    other = registry.protobuf(SHOP["Other"]).in_topic("others", "value").encode(SHOP["Other"](x="x"))
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError) as failure:
        send_bytes(driver, "orders", None, other)
    assert "the record is a message shop.Other, and the program reads shop.Order" in str(failure.value)


def test_a_key_of_messages_cannot_be_changed_and_has_a_hash() -> None:
    one, other = (MessageKey(SHOP["City"](name="Ulm")) for _ in range(2))
    assert one == other == SHOP["City"](name="Ulm")
    assert {one: 1}[other] == 1
    with pytest.raises(AttributeError, match="cannot be changed"):
        one.name = "Bonn"


def test_only_classes_of_messages_are_taken(registry: tm.SchemaRegistry) -> None:
    with pytest.raises(tm.TopologyError, match="a class that protoc has generated"):
        registry.protobuf(dict)


def test_the_schema_is_the_descriptor_of_the_file() -> None:
    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(Protobuf(SHOP["Order"]).schema.text))
    assert [message.name for message in file.message_type] == ["Other", "Order"]
