"""CPU time of schema registry serdes, compared with Confluent's and with JSON.

    python -m bench.registry [RECORDS]

Thread CPU time per record in µs, the minimum of five rounds, for a record with seven fields. The registry is in memory,
and all schemas are cached before the measurement starts.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry import avro as confluent_avro
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import tidemill as tm
from tidemill.operators.schemas.wire import TopicSerde
from tidemill.operators.serdes.base import column_decoder, column_encoder

ROUNDS = 5


class Order(msgspec.Struct, frozen=True):
    id: int
    user: str
    item: str
    pieces: int
    price: float
    at: dt.datetime
    note: str | None = None


def orders(count: int) -> list[Order]:
    at = dt.datetime(2024, 5, 1, tzinfo=dt.timezone.utc)
    return [Order(n, f"user {n % 100}", "pencil", n % 10, n / 4, at + dt.timedelta(seconds=n)) for n in range(count)]


def per_record(call: Callable[[], Any], count: int) -> float:
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time_ns()
        call()
        best = min(best, time.thread_time_ns() - began)
    return best / count / 1000


def show(
    name: str, write: Callable[[list[Any]], list[bytes]], read: Callable[[list[bytes]], list[Any]], values: list[Any]
) -> None:
    count, data = len(values), write(values)
    assert len(read(data)) == count
    written, found = per_record(lambda: write(values), count), per_record(lambda: read(data), count)
    print(f"{name:<46} {found:8.2f} {written:8.2f} {len(data[0]):8d}")


def columns(serde: Any) -> tuple[Any, Any]:
    return column_encoder(serde), column_decoder(serde)


def confluent(client: Any, text: str) -> tuple[Any, Any]:
    conf = {"subject.name.strategy": topic_subject_name_strategy}
    makers: Any = confluent_avro
    write, read = makers.AvroSerializer(client, text, conf=conf), makers.AvroDeserializer(client, text, conf=conf)
    context: Any = SerializationContext("orders", MessageField.VALUE)
    return lambda values: [write(each, context) for each in values], lambda data: [read(each, context) for each in data]


def message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="bench.proto", package="bench", syntax="proto3")
    message = file.message_type.add(name="Order")
    for number, (name, kind) in enumerate(
        [("id", 3), ("user", 9), ("item", 9), ("pieces", 3), ("price", 1), ("at", 3), ("note", 9)], 1
    ):
        message.field.add(name=name, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("bench.Order"))


def main(count: int) -> None:
    values = orders(count)
    plain = [msgspec.structs.asdict(each) for each in values]
    registry = tm.SchemaRegistry("mock://bench")
    schemas: Any = registry.schemas
    client: SchemaRegistryClient = schemas.client._client
    print(f"{'µs per record':<46} {'read':>8} {'write':>8} {'bytes':>8}")
    avro: TopicSerde = registry.avro(Order).in_topic("orders", "value")
    avro.resolve()
    text = json.dumps(json.loads(avro._form.schema.text))  # pyright: ignore[reportOptionalMemberAccess]
    show("avro(Order)", *columns(avro), values)
    show("avro(schema=...), dicts", *columns(registry.avro(schema=text).in_topic("orders", "value")), plain)
    show("Confluent's AvroSerializer, dicts", *confluent(client, text), plain)
    show("local form of avro(Order), in stores", *columns(registry.avro(Order)), values)
    make = message_class()
    messages = [
        make(id=o.id, user=o.user, item=o.item, pieces=o.pieces, price=o.price, at=int(o.at.timestamp()))
        for o in values
    ]
    show("protobuf(OrderPb)", *columns(registry.protobuf(make).in_topic("messages", "value")), messages)
    show("json_schema(Order)", *columns(registry.json_schema(Order).in_topic("json", "value")), values)
    loose = registry.json_schema(Order, validate=False).in_topic("json", "value")
    show("json_schema(Order, validate=False)", *columns(loose), values)
    show("tm.json(Order), without a registry", *columns(tm.json(Order)), values)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
