"""Debezium's records in Avro, with the schemas that Confluent's and Apicurio's converters make (`AvroData`)."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import msgspec
import pytest

import tidemill as tm
from tests.support.encoded import send_bytes
from tidemill.operators.schemas.schema import Schema

TOPIC = "shop.public.customers"


def named(kind: str, name: str, **parameters: str) -> dict[str, Any]:
    more: dict[str, Any] = {"connect.parameters": parameters} if parameters else {}
    return {"type": kind, "connect.version": 1, **more, "connect.name": name}


def optional(schema: Any) -> list[Any]:
    return ["null", schema]


CONNECT = "org.apache.kafka.connect.data."
DECIMAL = {
    **named("bytes", f"{CONNECT}Decimal", scale="2", **{"connect.decimal.precision": "10"}),
    "scale": 2,
    "precision": 10,
    "logicalType": "decimal",
}
VALUE = {
    "type": "record",
    "name": "Value",
    "fields": [
        {"name": "id", "type": "int"},
        {"name": "name", "type": "string"},
        {"name": "balance", "type": optional(DECIMAL), "default": None},
        {"name": "created", "type": optional(named("long", "io.debezium.time.MicroTimestamp")), "default": None},
        {
            "name": "changed",
            "type": optional({**named("long", f"{CONNECT}Timestamp"), "logicalType": "timestamp-millis"}),
            "default": None,
        },
        {"name": "born", "type": optional(named("int", "io.debezium.time.Date")), "default": None},
        {"name": "raw", "type": optional("bytes"), "default": None},
        {"name": "tags", "type": optional({"type": "array", "items": ["null", "string"]}), "default": None},
    ],
    "connect.name": f"{TOPIC}.Value",
}
ENVELOPE = {
    "type": "record",
    "name": "Envelope",
    "namespace": TOPIC,
    "fields": [
        {"name": "before", "type": optional(VALUE), "default": None},
        {"name": "after", "type": optional("Value"), "default": None},
        {
            "name": "source",
            "type": {
                "type": "record",
                "name": "Source",
                "namespace": "io.debezium.connector.postgresql",
                "fields": [
                    {"name": "ts_ms", "type": "long"},
                    {
                        "name": "snapshot",
                        "type": [named("string", "io.debezium.data.Enum", allowed="true,last,false"), "null"],
                        "default": "false",
                    },
                    {"name": "table", "type": "string"},
                ],
                "connect.name": "io.debezium.connector.postgresql.Source",
            },
        },
        {
            "name": "transaction",
            "type": optional(
                {
                    "type": "record",
                    "name": "block",
                    "namespace": "event",
                    "fields": [
                        {"name": "id", "type": "string"},
                        {"name": "total_order", "type": "long"},
                        {"name": "data_collection_order", "type": "long"},
                    ],
                    "connect.version": 1,
                    "connect.name": "event.block",
                }
            ),
            "default": None,
        },
        {"name": "op", "type": "string"},
        {"name": "ts_ms", "type": optional("long"), "default": None},
    ],
    "connect.version": 2,
    "connect.name": f"{TOPIC}.Envelope",
}
KEY = {"type": "record", "name": "Key", "namespace": TOPIC, "fields": [{"name": "id", "type": "int"}]}
SOURCE = {"ts_ms": 3, "snapshot": "false", "table": "customers"}
ROW = {
    "id": 1,
    "name": "Ann",
    "balance": Decimal("12.34"),
    "created": 1706933106123456,
    "changed": dt.datetime(2024, 2, 3, 4, 5, 6, 123000, tzinfo=dt.timezone.utc),
    "born": 7430,
    "raw": b"\x01",
    "tags": ["x", None],
}


class Customer(msgspec.Struct):
    id: int
    name: str
    balance: Decimal
    created: dt.datetime
    changed: dt.datetime
    born: dt.date
    raw: bytes
    tags: list[str | None]


CUSTOMER = Customer(
    1,
    "Ann",
    Decimal("12.34"),
    dt.datetime(2024, 2, 3, 4, 5, 6, 123456),  # noqa: DTZ001
    dt.datetime(2024, 2, 3, 4, 5, 6, 123000),  # noqa: DTZ001
    dt.date(1990, 5, 6),
    b"\x01",
    ["x", None],
)


@pytest.fixture
def registry() -> tm.SchemaRegistry:
    return tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}")


def written(registry: tm.SchemaRegistry, subject: str, schema: Any, value: Any) -> bytes:
    """A record as a converter writes it."""
    found = registry.schemas.to_write(subject, Schema("AVRO", json.dumps(schema)), register=True, key=False)
    to = BytesIO()
    fastavro.schemaless_writer(to, fastavro.parse_schema(json.loads(json.dumps(schema))), value)
    return b"\x00" + found.id.to_bytes(4, "big") + to.getvalue()


def test_a_table_and_a_stream(registry: tm.SchemaRegistry) -> None:
    app = tm.App("shop")
    keys, value = tm.debezium_key(int, registry=registry), tm.debezium(Customer, registry=registry)
    app.table(TOPIC, key=keys, value=value).named("rows")
    app.stream("other", key=keys, value=value).to("seen", key=tm.int64, value=tm.auto)

    def change(op: str, before: Any = None, after: Any = None) -> bytes:
        place = {"id": "7:1", "total_order": 1, "data_collection_order": 1}
        data = {"before": before, "after": after, "source": SOURCE, "op": op, "ts_ms": 4, "transaction": place}
        return written(registry, f"{TOPIC}-value", ENVELOPE, data)

    key = written(registry, f"{TOPIC}-key", KEY, {"id": 1})
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        for topic in (TOPIC, "other"):
            send_bytes(driver, topic, key, change("c", None, ROW))
        assert driver.store("rows").get(1) == CUSTOMER
        for topic in (TOPIC, "other"):
            send_bytes(driver, topic, key, change("d", ROW, None))
            send_bytes(driver, topic, key, None)
        assert driver.store("rows").get(1) is None
        created, deleted = [record.value for record in driver.read("seen")]
    assert (created.op, created.after, created.source, created.ts_ms) == ("c", CUSTOMER, SOURCE, 4)
    assert created.transaction.id == "7:1"
    assert (deleted.op, deleted.before, deleted.after) == ("d", CUSTOMER, None)


def test_rows_without_a_model_and_flattened(registry: tm.SchemaRegistry) -> None:
    data = written(registry, f"{TOPIC}-value", VALUE | {"namespace": TOPIC}, ROW)
    plain: Any = tm.debezium(registry=registry, flattened=True).in_topic(TOPIC, "value")
    assert plain.decode(data) == msgspec.structs.asdict(CUSTOMER)
    typed: Any = tm.debezium(Customer, registry=registry, flattened=True).in_topic(TOPIC, "value")
    assert typed.decode(data) == CUSTOMER


def test_values_that_are_not_sent(registry: tm.SchemaRegistry) -> None:
    after = {**ROW, "name": "__debezium_unavailable_value"}
    envelope = {"before": None, "after": after, "source": SOURCE, "op": "u", "ts_ms": 4, "transaction": None}
    data = written(registry, f"{TOPIC}-value", ENVELOPE, envelope)
    serde = tm.debezium(Customer, registry=registry)
    with pytest.raises(ValueError, match=r"the row lacks 'name'"):
        serde.rows().in_topic(TOPIC, "value").decode(data)
    assert serde.in_topic(TOPIC, "value").decode(data).unavailable == ("name",)


def test_what_is_no_change_is_refused(registry: tm.SchemaRegistry) -> None:
    data = written(registry, f"{TOPIC}-value", VALUE | {"namespace": TOPIC}, ROW)
    with pytest.raises(ValueError, match=r"has no field 'op'.*flattened=True"):
        tm.debezium(Customer, registry=registry).in_topic(TOPIC, "value").decode(data)
    envelope = {"before": None, "after": ROW, "source": SOURCE, "op": "c", "ts_ms": 4, "transaction": None}
    data = written(registry, f"{TOPIC}-value", ENVELOPE, envelope)
    serde = tm.debezium(Customer, registry=registry).in_topic(TOPIC, "value")
    with pytest.raises(ValueError, match="ends before"):
        serde.decode(data[:-12])
    with pytest.raises(ValueError, match="bytes are left"):
        serde.decode(data + b"\x00")
