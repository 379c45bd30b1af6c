"""Tests of the three formats on a real registry: compatible with Confluent's serializers in both directions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry import avro as avro_serdes
from confluent_kafka.schema_registry import json_schema as json_serdes
from confluent_kafka.schema_registry import protobuf as protobuf_serdes
from confluent_kafka.serialization import MessageField, SerializationContext

import tidemill as tm
from tests.brokers.registry import Registry
from tests.operators.schemas.test_protobuf import classes
from tidemill.operators.schemas.subjects import Role

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
STRATEGY = {"subject.name.strategy": topic_subject_name_strategy}
FIELD: dict[str, Any] = {"key": MessageField.KEY, "value": MessageField.VALUE}


class Order(msgspec.Struct, frozen=True):
    user: str
    amount: float
    tags: list[str] = []


@dataclasses.dataclass(frozen=True)
class Theirs:
    """A serializer and a deserializer of Confluent, as functions."""

    write: Any
    read: Any


@pytest.fixture
def client(registry: Registry) -> Iterator[SchemaRegistryClient]:
    made = SchemaRegistryClient({"url": registry.url})
    yield made
    made._rest_client.session.close()


@pytest.fixture
def ours(registry: Registry) -> Iterator[tm.SchemaRegistry]:
    made = tm.SchemaRegistry(registry.url)
    yield made
    made.schemas.client._client._rest_client.session.close()  # pyright: ignore[reportAttributeAccessIssue]


def check(ours: Any, theirs: Theirs, topic: str, role: Role, value: Any, plain: Any) -> None:
    """`plain` is the value as Confluent's serializer takes it and gives it back."""
    context: Any = SerializationContext(topic, FIELD[role])
    serde = ours.in_topic(topic, role)
    written = theirs.write(plain, context)
    assert serde.decode(written) == value
    assert theirs.read(serde.encode(value), context) == plain
    assert serde.encode(value)[:5] == written[:5], "it is the same schema"


@pytest.mark.parametrize("role", ["key", "value"])
def test_avro(ours: tm.SchemaRegistry, client: Any, app_id: str, role: Role) -> None:
    serde = ours.avro(Order)
    text = serde.in_topic(app_id, role)._form.schema.text  # pyright: ignore[reportOptionalMemberAccess]
    serializer: Any = avro_serdes.AvroSerializer
    deserializer: Any = avro_serdes.AvroDeserializer
    theirs = Theirs(serializer(client, text, conf=STRATEGY), deserializer(client, conf=STRATEGY))
    plain = {"user": "ann", "amount": 1.5, "tags": ["a"]}
    check(serde, theirs, app_id, role, Order("ann", 1.5, ["a"]), plain)


def test_json_schema(ours: tm.SchemaRegistry, client: Any, app_id: str) -> None:
    serde = ours.json_schema(Order)
    text = serde.in_topic(app_id, "value")._form.schema.text  # pyright: ignore[reportOptionalMemberAccess]
    serializer: Any = json_serdes.JSONSerializer
    deserializer: Any = json_serdes.JSONDeserializer
    theirs = Theirs(serializer(text, client, conf=STRATEGY), deserializer(text, None, client, conf=STRATEGY))
    plain = {"user": "ann", "amount": 1.5, "tags": ["a"]}
    check(serde, theirs, app_id, "value", Order("ann", 1.5, ["a"]), plain)


@pytest.mark.parametrize("name", ["Other", "Order", "Order.Line"])
def test_protobuf(ours: tm.SchemaRegistry, client: Any, app_id: str, name: str) -> None:
    made = classes(app_id.replace("-", "_"))
    values = {
        "Other": made["Other"](x="x"),
        "Order": made["Order"](user="ann", amount=1.5, city=made["City"](name="Ulm")),
        "Order.Line": made["Order.Line"](pieces=300),
    }
    serializer: Any = protobuf_serdes.ProtobufSerializer
    deserializer: Any = protobuf_serdes.ProtobufDeserializer
    theirs = Theirs(
        serializer(made[name], client, conf={**STRATEGY, "use.deprecated.format": False}),
        deserializer(made[name], {**STRATEGY, "use.deprecated.format": False}, client),
    )
    check(ours.protobuf(made[name]), theirs, app_id, "value", values[name], values[name])


def test_a_schema_as_a_file_of_protobuf(ours: tm.SchemaRegistry, registry: Registry, client: Any, app_id: str) -> None:
    """As Java's serializer registers it."""
    package = app_id.replace("-", "_")
    made = classes(package)
    text = f'syntax = "proto3"; package {package}; message Other {{ string x = 1; }}'
    number = client.register_schema(f"{app_id}-value", Schema(text, "PROTOBUF"))
    serde = ours.protobuf(made["Other"]).in_topic(app_id, "value")
    data = b"\x00" + number.to_bytes(4, "big") + b"\x00" + made["Other"](x="x").SerializeToString()
    assert serde.decode(data) == made["Other"](x="x")


def test_latest(ours: tm.SchemaRegistry, client: Any, app_id: str) -> None:
    """Written by the schema that the registry has, whose fields have defaults."""
    schema = {
        "type": "record",
        "name": "Order",
        "fields": [
            {"name": "user", "type": "string"},
            {"name": "amount", "type": "double"},
            {"name": "note", "type": "string", "default": "none"},
        ],
    }
    ours.avro(schema=schema).in_topic(app_id, "value").resolve()
    serde = ours.avro(Order, latest=True).in_topic(app_id, "value")
    data = serde.encode(Order("ann", 1.0))
    assert ours.avro().in_topic(app_id, "value").decode(data) == {"user": "ann", "amount": 1.0, "note": "none"}
    assert serde.decode(data) == Order("ann", 1.0)
    assert json.loads(client.get_latest_version(f"{app_id}-value").schema.schema_str) == schema
