"""What a real Debezium reads from a real PostgreSQL is the same rows here: snapshot, changes, deletions, all types."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.brokers import postgres
from tests.brokers.debezium import engine
from tests.support.encoded import send_bytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
TOPIC = "shop.public.items"
COLUMNS = "id, name, price, free, made, seen, born, at, span, uid, doc, raw, tags, ok, weight"


class Item(msgspec.Struct):
    id: int
    name: str
    price: Decimal | None
    free: Decimal | None
    made: dt.datetime | None
    seen: dt.datetime | None
    born: dt.date | None
    at: dt.time | None
    span: dt.timedelta | None
    uid: uuid.UUID | None
    doc: dict[str, Any] | None
    raw: bytes | None
    tags: list[str] | None
    ok: bool | None
    weight: float | None


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    reason = postgres.missing() or engine.why_not()
    if reason:
        pytest.skip(reason)
    with postgres.running("-c wal_level=logical") as server:
        yield server


def values(draw: random.Random) -> str:
    """The columns but the key, of any values."""

    def maybe(text: str) -> str:
        return text if draw.random() < 0.8 else "null"

    return ", ".join(
        (
            f"'name {draw.randrange(1000)}'",
            maybe(f"{draw.randrange(-(10**8), 10**8)} / 100.0"),
            maybe(f"{draw.randrange(-(10**8), 10**8)} / 8.0"),
            maybe(f"timestamp '2000-01-01' + interval '{draw.randrange(10**9)} seconds {draw.randrange(10**6)} us'"),
            maybe(f"timestamptz '1960-01-01 00:00+02' + interval '{draw.randrange(10**9)} seconds'"),
            maybe(f"date '1900-01-01' + {draw.randrange(60_000)}"),
            maybe(f"time '00:00' + interval '{draw.randrange(86_400)} seconds {draw.randrange(10**6)} us'"),
            maybe(f"interval '{draw.randrange(-9, 9)} days {draw.randrange(10**6)} us'"),
            maybe(f"'{uuid.UUID(int=draw.getrandbits(128))}'"),
            maybe(f"""'{{"a": {draw.randrange(9)}, "b": [1, null]}}'"""),
            maybe(f"'\\x{draw.randbytes(5).hex()}'"),
            maybe("'{x,\"y z\"}'"),
            maybe("true"),
            maybe(f"{draw.randrange(100)} / 8.0::float8"),
        )
    )


@pytest.mark.parametrize("way", ["schemas", "flattened"])
def test_rows_of_a_real_database(server: postgres.Postgres, way: str) -> None:
    draw = random.Random(way)
    database = f"shop_{way}"
    server.rows(f"create database {database}")

    def run(query: str) -> list[tuple[Any, ...]]:
        return server.rows(query, database)

    run(
        "create table items (id int primary key, name text not null, price numeric(12, 2), free numeric, "
        "made timestamp, seen timestamptz, born date, at time, span interval, uid uuid, doc jsonb, raw bytea, "
        "tags text[], ok boolean, weight float8)"
    )
    settings = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "plugin.name": "pgoutput",
        "slot.name": way,
        "publication.name": way,
        "database.hostname": "127.0.0.1",
        "database.port": str(server.port),
        "database.user": "postgres",
        "database.password": "none",
        "database.dbname": database,
        "table.include.list": "public.items",
    }
    flattened = way == "flattened"
    if flattened:
        settings |= {
            "transforms": "flat",
            "transforms.flat.type": "io.debezium.transforms.ExtractNewRecordState",
            "transforms.flat.delete.tombstone.handling.mode": "rewrite",
        }
    app = tm.App("items")
    app.table(TOPIC, key=tm.debezium_key(int), value=tm.debezium(Item, flattened=flattened)).named("items")
    present = set(range(1, 9))
    for each in present:
        run(f"insert into items values ({each}, {values(draw)})")
    with engine.running(settings) as captured, tm.testing.TopologyDriver(app, partitions=2) as driver:
        for record in captured.take(len(present)):  # the snapshot
            send_bytes(driver, record.topic, record.key, record.value)
        for _ in range(25):
            each = draw.randrange(1, 12)
            records = 1
            if each not in present:
                run(f"insert into items values ({each}, {values(draw)})")
            elif draw.random() < 0.3:
                run(f"delete from items where id = {each}")
                records = 1 if flattened else 2  # the change and its tombstone
            else:
                run(f"update items set ({COLUMNS[4:]}) = row({values(draw)}) where id = {each}")
            present = {row[0] for row in run("select id from items")}
            for record in captured.take(records):
                assert record.topic == TOPIC
                send_bytes(driver, record.topic, record.key, record.value)
            expected = {row[0]: Item(*row) for row in run(f"select {COLUMNS} from items")}
            found = {key: driver.store("items").get(key) for key in range(1, 12)}
            assert {key: row for key, row in found.items() if row is not None} == expected
