"""Programs on topics of Debezium: tables, streams, joins, and what they write themselves."""

from __future__ import annotations

import random
import uuid
from decimal import Decimal
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.operators.changes.records import POSTGRES_COLUMNS, POSTGRES_SOURCE, envelope, key
from tests.support.encoded import send_bytes

TOPIC = "shop.public.customers"


class Customer(msgspec.Struct):
    id: int
    name: str
    balance: Decimal | None = None


class Pair(msgspec.Struct, frozen=True):
    region: str
    number: int


@pytest.fixture
def app() -> tm.App:
    return tm.App("shop")


def table(app: tm.App, **options: Any) -> None:
    rows = app.table(TOPIC, key=tm.debezium_key(int), value=tm.debezium(Customer, **options)).named("customers")
    rows.group_by(lambda row: row.id % 2, key=tm.int64).count().named("kinds")


def as_row(customer: int, name: str) -> dict[str, Any]:
    return {"id": customer, "name": name, "balance": "BNI="}


@pytest.mark.slow
@pytest.mark.parametrize("schema", [False, True])
def test_a_table_is_what_the_changes_leave(app: tm.App, schema: bool) -> None:
    """Random changes, each deletion with or without its tombstone, keys with and without a schema."""
    table(app)
    columns = POSTGRES_COLUMNS
    draw = random.Random(f"changes {schema}")
    rows: dict[int, str] = {}
    deleted = 0
    with tm.testing.TopologyDriver(app, partitions=3) as driver:
        for number in range(300):
            customer, name = draw.randrange(8), f"name {number}"
            framed = schema or draw.random() < 0.5
            bytes_of_key = key(schema=framed, id=customer)
            if customer in rows and draw.random() < 0.4:
                before = as_row(customer, rows.pop(customer))
                send_bytes(driver, TOPIC, bytes_of_key, envelope("d", before, None, columns=columns))
                deleted += 1
                if draw.random() < 0.7:
                    send_bytes(driver, TOPIC, bytes_of_key, None)
            else:
                op = "u" if customer in rows else draw.choice("cr")
                rows[customer] = name
                send_bytes(driver, TOPIC, bytes_of_key, envelope(op, None, as_row(customer, name), columns=columns))
            for each in range(8):
                expected = Customer(each, rows[each], Decimal("12.34")) if each in rows else None
                assert driver.store("customers").get(each) == expected
            for even in (0, 1):
                assert (driver.store("kinds").get(even) or 0) == sum(each % 2 == even for each in rows)
    assert deleted > 30


def test_a_tombstone_alone_deletes_too(app: tm.App) -> None:
    """Compaction removes the deletion and leaves its tombstone."""
    table(app)
    with tm.testing.TopologyDriver(app) as driver:
        send_bytes(driver, TOPIC, key(id=1), envelope("c", None, as_row(1, "Ann"), columns=POSTGRES_COLUMNS))
        send_bytes(driver, TOPIC, key(id=1), None)
        assert driver.store("customers").get(1) is None


def test_equal_keys_with_and_without_a_schema_are_one_row(app: tm.App) -> None:
    table(app)
    with tm.testing.TopologyDriver(app, partitions=4) as driver:
        for place in range(4):
            data = envelope("u", None, as_row(1, f"{place}"), columns=POSTGRES_COLUMNS)
            send_bytes(driver, TOPIC, key(id=1, schema=place % 2 == 0), data, partition=place)
            assert driver.store("customers").get(1) == Customer(1, f"{place}", Decimal("12.34"))


@pytest.mark.parametrize("op", ["t", "m"])
def test_what_a_table_cannot_follow_is_an_error_of_the_record(op: str) -> None:
    app = tm.App("shop", on_error=tm.skip)
    table(app)
    with tm.testing.TopologyDriver(app) as driver:
        send_bytes(driver, TOPIC, key(id=1), envelope("c", None, as_row(1, "Ann"), columns=POSTGRES_COLUMNS))
        send_bytes(driver, TOPIC, None, envelope(op))
        assert driver.store("customers").get(1) == Customer(1, "Ann", Decimal("12.34"))
    app = tm.App("shop")
    table(app)
    with tm.testing.TopologyDriver(app) as driver, pytest.raises(tm.RecordError, match=r"as a stream|truncated"):
        send_bytes(driver, TOPIC, None, envelope(op))


def test_a_stream_gets_each_change_and_no_tombstone(app: tm.App) -> None:
    changes = app.stream(
        TOPIC, key=tm.debezium_key(int), value=tm.debezium(Customer), timestamp=lambda change: change.source["ts_ms"]
    )
    changes.to("seen", key=tm.int64, value=tm.auto)
    changes.group_by_key().count().named("counts")
    place = {"id": "729:1", "total_order": 2, "data_collection_order": 1}
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        after = as_row(1, "Ann")
        send_bytes(driver, TOPIC, key(id=1), envelope("c", None, after, columns=POSTGRES_COLUMNS, transaction=place))
        send_bytes(driver, TOPIC, key(id=1), envelope("d", {"id": 1}, None, columns=POSTGRES_COLUMNS))
        send_bytes(driver, TOPIC, key(id=1), None)
        send_bytes(driver, TOPIC, None, envelope("t"))
        send_bytes(driver, TOPIC, None, envelope("m", message={"prefix": "p", "content": "Y29udGVudA=="}))
        created, deleted, truncated, message = [record.value for record in driver.read("seen")]
        assert driver.store("counts").get(1) == 2
    assert (created.op, created.after, created.before) == ("c", Customer(1, "Ann", Decimal("12.34")), None)
    assert created.source == POSTGRES_SOURCE
    assert (created.transaction.id, created.transaction.total_order) == ("729:1", 2)
    assert created.ts_ms == 1796032367878
    assert (deleted.op, deleted.before, deleted.before_columns) == ("d", None, {"id": 1})
    assert truncated.op == "t"
    assert (message.message.prefix, message.message.content) == ("p", b"content")


def test_batches_with_tombstones_keep_the_places_of_errors() -> None:
    app = tm.App("shop", on_error=tm.skip)
    app.stream(TOPIC, value=tm.debezium(Customer)).map(lambda change: change.after and change.after.name).to(
        "names", value=tm.utf8
    )
    change = tm.RowChange("c", after=Customer(1, "Ann"))
    with tm.testing.TopologyDriver(app) as driver:
        records = [tm.Record(b"k", value, 1) for value in (change, None, change)]
        driver.send_all(TOPIC, records)
        send_bytes(driver, TOPIC, b"k", None)
        send_bytes(driver, TOPIC, b"k", b"{}")
        driver.send_all(TOPIC, records)
        assert [record.value for record in driver.read("names")] == ["Ann"] * 4


def test_composite_keys_and_a_join_with_another_topic(app: tm.App) -> None:
    customers = app.table(TOPIC, key=tm.debezium_key(int), value=tm.debezium(Customer))
    orders = app.stream("orders", key=tm.int64, value=tm.json)
    orders.join(customers, lambda order, customer: [order["item"], customer.name]).to("named", value=tm.json)
    parts = app.table("shop.public.parts", key=tm.debezium_key(Pair), value=tm.debezium()).named("parts")
    parts.group_by(lambda part: part["kind"]).count().named("kinds")
    everywhere = app.global_table("shop.public.rates", key=tm.debezium_key(str), value=tm.debezium()).named("rates")
    orders.join(everywhere, lambda order, rate: rate["rate"], on=lambda order: order["item"]).to("r", value=tm.json)
    with tm.testing.TopologyDriver(app, partitions=4) as driver:
        for customer in range(20):
            send_bytes(driver, TOPIC, key(id=customer), envelope("c", None, {"id": customer, "name": f"n{customer}"}))
        rate = envelope("c", None, {"code": "pen", "rate": 1.5})
        send_bytes(driver, "shop.public.rates", b'{"code":"pen"}', rate)
        for customer in range(20):
            driver.send("orders", key=customer, value={"item": "pen"}, timestamp=1)
        assert sorted(record.value[1] for record in driver.read("named")) == sorted(f"n{each}" for each in range(20))
        assert [record.value for record in driver.read("r")] == [1.5] * 20
        for number in range(3):
            data = envelope("c", None, {"region": "eu", "number": number, "kind": "bolt"})
            send_bytes(driver, "shop.public.parts", key(region="eu", number=number), data)
        assert driver.store("parts").get(Pair("eu", 2))["kind"] == "bolt"
        assert driver.store("kinds").get("bolt") == 3
        with pytest.raises(tm.RecordError, match="the key has the columns 'region', 'number'"):
            send_bytes(driver, TOPIC, key(region="eu", number=1), None)


def test_keys_that_could_not_meet_are_refused(app: tm.App) -> None:
    customers = app.table(TOPIC, key=tm.debezium_key(int), value=tm.debezium(Customer))
    orders = app.stream("orders", key=tm.json, value=tm.json)
    with pytest.raises(tm.TopologyError, match=r"debezium_key\(int\) and by json have different bytes.*\.with_key"):
        orders.join(customers, lambda order, customer: [order, customer.name])
    again = orders.with_key(lambda order: order["customer"], key=tm.debezium_key(int))
    again.join(customers, lambda order, customer: customer.name).to("named", value=tm.utf8)
    with tm.testing.TopologyDriver(app, partitions=4) as driver:
        for customer in range(20):
            send_bytes(driver, TOPIC, key(id=customer), envelope("c", None, {"id": customer, "name": f"n{customer}"}))
            driver.send("orders", key=str(customer), value={"customer": customer}, timestamp=1)
        assert len(driver.read("named")) == 20


def test_keys_of_other_shapes() -> None:
    keys = tm.debezium_key(int).in_topic("t", "key")
    assert keys.decode(b"7") == 7  # ExtractField$Key
    assert keys.decode(b'{"schema":{"type":"int32","optional":false},"payload":7}') == 7
    assert tm.debezium_key(uuid.UUID).in_topic("t", "key").decode(f'{{"uid":"{uuid.UUID(int=3)}"}}'.encode()).int == 3
    plain = tm.debezium_key()
    assert plain.in_topic("t", "key").decode(key(id=1)) == {"id": 1}
    assert plain.encode({"id": 1}) == plain.encode({"id": 1})
    with pytest.raises(ValueError, match="Expected `int`"):
        keys.decode(b'{"id":"seven"}')

    values: list[Any] = [tm.debezium(Customer), tm.debezium(Customer, flattened=True)]
    for value in values:
        with pytest.raises(tm.TopologyError, match="serde of values"):
            tm.App("a").stream("in", key=value)

    class Loose(msgspec.Struct):
        id: int

    with pytest.raises(tm.TopologyError, match="no hash"):
        tm.debezium_key(Loose)


@pytest.mark.parametrize("flattened", [False, True])
@pytest.mark.parametrize("avro", [False, True])
def test_what_a_program_writes_is_read_again(app: tm.App, flattened: bool, avro: bool) -> None:
    class Row(msgspec.Struct):
        name: str
        ok: bool = True

    registry = tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}") if avro else None
    serde: Any = tm.debezium(Row, flattened=flattened, registry=registry)
    keys = tm.debezium_key(int, registry=registry)
    app.table(TOPIC, key=keys, value=serde).named("rows").to("copy", key=keys)
    app.stream("changes", key=keys, value=serde).to("changed", key=keys)
    change = Row("Ann") if flattened else tm.RowChange("u", Row("Ann"), Row("Ann B."), {"table": "t", "ts_ms": 3}, 4)
    with tm.testing.TopologyDriver(app) as driver:
        driver.send(TOPIC, key=1, value=Row("Ann"), timestamp=1)
        assert driver.store("rows").get(1) == Row("Ann")
        driver.send(TOPIC, key=1, value=None, timestamp=2)
        assert driver.store("rows").get(1) is None
        driver.send("changes", key=2, value=change, timestamp=1)
        assert [(record.key, record.value) for record in driver.read("changed")] == [(2, change)]
        copies = [(record.key, record.value) for record in driver.read("copy")]
    assert copies == [(1, Row("Ann")), (1, None)]
    with pytest.raises(TypeError, match=r"writes tm\.RowChange objects"):
        tm.debezium(Row).in_topic("t", "value").encode("text")
