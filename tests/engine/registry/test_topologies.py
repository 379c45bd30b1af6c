"""Tests of programs with an in-memory registry: every step, keys of several schemas, schema ids in headers."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.support.encoded import send_bytes


class Order(msgspec.Struct):
    user: str
    amount: float


class LaterOrder(msgspec.Struct):
    user: str
    amount: float
    note: str = "none"


class Key(msgspec.Struct, frozen=True):
    id: int


class LaterKey(msgspec.Struct, frozen=True):
    id: int
    region: str = "eu"


class Customer(msgspec.Struct):
    name: str


@pytest.fixture
def registry() -> tm.SchemaRegistry:
    return tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}")


@pytest.fixture(params=["confluent", "apicurio-global"])
def either(request: pytest.FixtureRequest) -> tm.SchemaRegistry:
    """A registry with each format of schema ids."""
    return tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}", framing=request.param)


@pytest.fixture
def app() -> tm.App:
    return tm.App("shop")


def rows(driver: tm.testing.TopologyDriver, topic: str) -> list[tuple[Any, Any]]:
    return [(record.key, record.value) for record in driver.read(topic)]


def test_keyed_steps_windows_and_joins(app: tm.App, either: tm.SchemaRegistry) -> None:
    registry = either
    key, order = registry.avro(Key), registry.avro(Order)
    orders = app.stream("orders", key=key, value=order)
    best = orders.group_by_key().reduce(lambda a, b: b if b.amount >= a.amount else a).named("best")
    best.to("best")
    orders.group_by_key().window(tm.tumbling("1m")).count().named("counts").to("counts", value=tm.json)
    orders.group_by_key().window(tm.session(gap="1m")).reduce(lambda a, _: a).named("sessions").to("sessions")
    customers = app.table("customers", key=key, value=registry.avro(Customer)).named("customers")
    orders.join(customers, lambda order, customer: f"{customer.name}: {order.amount}").to("named", value=tm.utf8)
    shops = app.global_table("shops", key=key, value=registry.avro())
    orders.join(shops, lambda order, shop: shop["city"], on=lambda order: Key(1)).to("cities", value=tm.utf8)
    orders.group_by(lambda order: Key(len(order.user)), key=key).count().to("lengths", value=tm.json)
    with tm.testing.TopologyDriver(app, partitions=3) as driver:
        schema = {"type": "record", "name": "Shop", "fields": [{"name": "city", "type": "string"}]}
        shop = registry.avro(schema=schema).in_topic("shops", "value")
        raw = shop.encode({"city": "Ulm"})
        send_bytes(driver, "shops", key.in_topic("shops", "key").encode(Key(1)), raw)
        driver.send("customers", key=Key(1), value=Customer("Ann"), timestamp=1)
        driver.send("orders", key=Key(1), value=Order("ann", 5.0), timestamp=2)
        driver.send("orders", key=Key(1), value=Order("bob", 7.0), timestamp=3)
        assert rows(driver, "best") == [(Key(1), Order("ann", 5.0)), (Key(1), Order("bob", 7.0))]
        assert rows(driver, "counts") == [(tm.Windowed(Key(1), 0, 60_000), n) for n in (1, 2)]
        assert rows(driver, "sessions")[-1] == (tm.Windowed(Key(1), 2, 3), Order("ann", 5.0))
        assert rows(driver, "named") == [(Key(1), "Ann: 5.0"), (Key(1), "Ann: 7.0")]
        assert rows(driver, "cities") == [(Key(1), "Ulm")] * 2
        assert rows(driver, "lengths") == [(Key(3), 1), (Key(3), 2)]
        assert driver.store("best").get(Key(1)) == Order("bob", 7.0)


def test_one_key_written_by_two_schemas_is_one_key(app: tm.App, registry: tm.SchemaRegistry) -> None:
    """Producers with other schemas write it to other partitions; the repartition topic brings them together."""
    key = registry.avro(LaterKey)
    app.stream("orders", key=key, value=tm.json).group_by_key().count().named("counts").to("counts", value=tm.json)
    app.table("rows", key=key, value=tm.json).named("rows")
    old = registry.avro(Key, subject="topic").in_topic("orders-before", "key")
    new = key.in_topic("orders", "key")
    one, other = old.encode(Key(7)), new.encode(LaterKey(7))
    assert one != other
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        send_bytes(driver, "orders", one, b"1", partition=0)
        send_bytes(driver, "orders", other, b"2", partition=1)
        assert rows(driver, "counts") == [(LaterKey(7), 1), (LaterKey(7), 2)]
        send_bytes(driver, "rows", one, b"1", partition=0)
        send_bytes(driver, "rows", other, None, partition=1)
        assert driver.store("rows").get(LaterKey(7)) is None


def test_records_of_an_earlier_schema_have_the_defaults(app: tm.App, registry: tm.SchemaRegistry) -> None:
    app.stream("orders", value=registry.avro(LaterOrder)).to("copy")
    old = registry.avro(Order).in_topic("orders", "value")
    with tm.testing.TopologyDriver(app) as driver:
        send_bytes(driver, "orders", None, old.encode(Order("ann", 1.0)))
        driver.send("orders", value=LaterOrder("bob", 2.0, "x"), timestamp=1)
        assert [value for _, value in rows(driver, "copy")] == [
            LaterOrder("ann", 1.0, "none"),
            LaterOrder("bob", 2.0, "x"),
        ]


def test_tombstones_pass_through(app: tm.App, registry: tm.SchemaRegistry) -> None:
    app.table("rows", key=registry.avro(Key), value=registry.avro(Order)).named("rows").to("copy")
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("rows", key=Key(1), value=Order("ann", 1.0), timestamp=1)
        driver.send("rows", key=Key(1), value=None, timestamp=2)
        assert rows(driver, "copy") == [(Key(1), Order("ann", 1.0)), (Key(1), None)]
        assert driver.store("rows").get(Key(1)) is None


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"\x00\x00\x00\x27\x0fdata", "schema with the id 9999"),
        (b'{"json": 1}', "another serializer"),
        (b"\x00\x00", "another serializer"),
        (b"", "another serializer"),
    ],
)
def test_a_record_that_cannot_be_decoded_is_a_record_error(
    app: tm.App, registry: tm.SchemaRegistry, raw: bytes, said: str
) -> None:
    app.stream("orders", value=registry.avro(Order)).to("copy")
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError, match="decode") as failure:
        send_bytes(driver, "orders", None, raw)
    assert said in str(failure.value.__cause__)


def test_it_is_skipped_by_the_policy(registry: tm.SchemaRegistry) -> None:
    app = tm.App("shop", on_error=tm.skip)
    app.stream("orders", value=registry.avro(Order)).to("copy")
    with tm.testing.TopologyDriver(app) as driver:
        send_bytes(driver, "orders", None, b"\x00\x00\x00\x27\x0fdata")
        driver.send("orders", value=Order("ann", 1.0), timestamp=1)
        assert [value for _, value in rows(driver, "copy")] == [Order("ann", 1.0)]
        assert driver.dropped == {("orders", "undecodable"): 1}


def header_of(row: Any, name: str) -> bytes | None:
    return dict(row[3] or ()).get(name)


def test_ids_of_apicurio_in_headers(app: tm.App) -> None:
    """Headers that say how the input was written are not those of the output; others are kept."""
    registry = tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}", framing="apicurio-content")
    value = registry.avro(Order, headers=True)
    orders = app.stream("orders", key=tm.utf8, value=value)
    orders.to("by-header", value=value)
    orders.to("by-prefix", value=registry.avro(Order))
    with tm.testing.TopologyDriver(app) as driver:
        encoding = ("apicurio.value.encoding", b"BINARY")
        driver.send("orders", key="ann", value=Order("ann", 1.0), timestamp=1, headers=(encoding, ("trace", b"1")))
        [row] = driver.read_bytes("by-header")
        assert row[3] == [("trace", b"1"), ("apicurio.value.contentId", (1).to_bytes(8, "big"))]
        [other] = driver.read_bytes("by-prefix")
        assert other[3] == [("trace", b"1")]
        assert (other[1] or b"")[:9] == b"\x00" + (2).to_bytes(8, "big")
        assert (other[1] or b"")[9:] == row[1]


def test_schema_ids_in_headers(app: tm.App, registry: tm.SchemaRegistry) -> None:
    key, value = registry.avro(Key, headers=True), registry.avro(Order, headers=True)
    source = app.stream("orders", key=registry.avro(Key), value=registry.avro(Order))
    source.to("by-header", key=key, value=value)
    source.to("by-prefix", key=registry.avro(Key), value=registry.avro(Order))
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("orders", key=Key(1), value=Order("ann", 1.0), timestamp=1, headers=(("trace", b"1"),))
        [row] = driver.read_bytes("by-header")
        assert (row[1] or b"\x00")[0] != 0
        assert header_of(row, "trace") == b"1"
        assert len(header_of(row, "__value_schema_id") or b"") == 17
        driver.read_bytes("by-prefix")
        send_bytes(driver, "orders", row[0], row[1], headers=tuple(row[3] or ()))  # as another program wrote it
        [again] = driver.read_bytes("by-prefix")
        assert (again[1] or b"")[:1] == b"\x00"
        assert [name for name, _ in again[3] or ()] == ["trace"], "the ids in front of the data are the only ones"


def test_topics_chosen_by_a_function_have_subjects_of_their_own(app: tm.App, registry: tm.SchemaRegistry) -> None:
    orders = app.stream("orders", value=registry.avro(Order, subject="topic"))
    orders.to(lambda record: f"orders-of-{record.value.user}", value=registry.avro(LaterOrder))
    with tm.testing.TopologyDriver(app) as driver:
        driver.send("orders", value=Order("ann", 1.0), timestamp=1)
        driver.send("orders", value=Order("bob", 1.0), timestamp=2)
        for user in ("ann", "bob"):
            [row] = driver.read_bytes(f"orders-of-{user}")
            assert (row[1] or b"")[:1] == b"\x00"


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [("topic", "orders-value"), ("record", "com.shop.Order"), ("topic_record", "orders-com.shop.Order")],
)
def test_subjects(registry: tm.SchemaRegistry, strategy: Any, subject: str) -> None:
    serde = registry.avro(Order, namespace="com.shop", subject=strategy)
    assert serde.in_topic("orders", "value").subject == subject


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda r: r.avro(subject="record"), "there is none: give a model"),
        (lambda r: r.avro(Order, subject="topics"), "subject= is 'topic', 'record' or 'topic_record'"),
        (lambda r: r.avro(schema="{"), "is no Avro schema"),
        (lambda r: r.avro(Order).as_key(), "declare the class frozen"),
    ],
)
def test_invalid_programs_are_refused_at_build_time(registry: tm.SchemaRegistry, make: Any, said: str) -> None:
    with pytest.raises(tm.TopologyError, match=said):
        make(registry)


def test_a_serde_without_a_schema_cannot_write(app: tm.App, registry: tm.SchemaRegistry) -> None:
    app.stream("orders", value=registry.avro()).to("copy")
    with pytest.raises(tm.TopologyError, match="no schema to write with"):
        tm.testing.TopologyDriver(app)


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "localhost:8081"},
        {"url": "ftp://x"},
        {"cache": 0},
        {"auth": 7},
        {"tls": {"crt": "x"}},
        {"tls": "/no/file"},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(tm.ConfigError, match="SchemaRegistry"):
        tm.SchemaRegistry(**{"url": "http://localhost:8081", **arguments})
