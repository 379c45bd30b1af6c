"""Tests of rows of global tables with a registry: in the form for stores, and waiting for schemas."""

from __future__ import annotations

import uuid
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.engine.registry.test_schemas import FakeRegistry, Refused
from tidemill.engine.registry.schemas import SchemaCache
from tidemill.engine.restore.global_rows import GlobalRows
from tidemill.operators.policy import ErrorPolicy
from tidemill.operators.record import Batch
from tidemill.state.memory import MemoryStore


class Key(msgspec.Struct, frozen=True):
    id: int


class LaterKey(msgspec.Struct, frozen=True):
    id: int
    region: str = "eu"


@pytest.fixture
def registry() -> tm.SchemaRegistry:
    return tm.SchemaRegistry(f"mock://{uuid.uuid4().hex}")


def rows_of(key: Any, value: Any, store: MemoryStore) -> GlobalRows:
    app = tm.App("shop")
    shops = app.global_table("shops", key=key, value=value)
    app.stream("orders").join(shops, lambda _, shop: shop, on=lambda _: LaterKey(1)).to("out")
    [node] = app.topology().global_tables
    return GlobalRows(node, store, ErrorPolicy.FAIL, 1 << 20)


def batch(*rows: tuple[bytes, bytes | None]) -> Batch:
    keys, values = [key for key, _ in rows], [value for _, value in rows]
    return Batch("shops", 0, [*keys], [*values], [0] * len(rows), list(range(len(rows))), None, 1)


def test_one_key_by_two_schemas_is_one_row(registry: tm.SchemaRegistry) -> None:
    old = registry.avro(Key).in_topic("before", "key").encode(Key(1))
    new = registry.avro(LaterKey).in_topic("shops", "key").encode(LaterKey(1))
    city = registry.avro(schema='"string"').in_topic("shops", "value").encode
    rows = rows_of(registry.avro(LaterKey), registry.avro(), MemoryStore())
    rows.apply(batch((old, city("Ulm")), (new, city("Bonn"))))
    assert rows[LaterKey(1)][1] == "Bonn"
    rows.apply(batch((old, None)))
    assert rows[LaterKey(1)] is None


def test_rows_that_were_kept_as_read_are_read_again(registry: tm.SchemaRegistry) -> None:
    store = MemoryStore()
    rows_of(tm.json, tm.json, store).identify("topic-1")
    rows = rows_of(registry.avro(LaterKey), registry.avro(), store)
    assert rows.identity != "topic-1"
    rows.identify("topic-1")
    assert rows.identity == "topic-1"
    assert rows_of(tm.json, tm.json, store).identity != "topic-1"


def test_a_batch_without_its_schema_is_not_applied(registry: tm.SchemaRegistry) -> None:
    fake = FakeRegistry()
    fake.up = False
    serde = registry.avro(schema='"string"')
    serde._schemas = SchemaCache(fake, Refused, 10, wait=0.1)
    rows = rows_of(registry.avro(LaterKey), serde, MemoryStore())
    key = registry.avro(LaterKey).in_topic("shops", "key").encode(LaterKey(1))
    with pytest.raises(tm.Retryable):
        rows.apply(batch((key, b"\x00\x00\x00\x00\x07\x06Ulm")))
    assert rows[LaterKey(1)] is None
    assert not rows.store.position().changelogs
