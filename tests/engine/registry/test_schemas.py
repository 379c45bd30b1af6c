"""Tests of the schema cache: schemas are requested once, awaited while the registry is down, and never guessed."""

from __future__ import annotations

import time
from threading import Event

import pytest

import tidemill as tm
from tests.brokers.client import wait_for
from tests.support.patience import PATIENCE
from tidemill.engine.registry.schemas import SchemaCache
from tidemill.operators.schemas.framing import SchemaId
from tidemill.operators.schemas.schema import RegisteredSchema, Schema, UnknownSchema


class Refused(Exception):
    pass


class FakeRegistry:
    """A registry whose responses can be delayed."""

    url = "http://registry"

    def __init__(self) -> None:
        self.up = True
        self.hanging: Event | None = None
        self.schemas: dict[int, Schema] = {7: Schema("AVRO", '"string"')}
        self.subjects: dict[str, list[RegisteredSchema]] = {}
        self.calls: list[object] = []

    def by_id(self, schema_id: SchemaId) -> Schema:
        assert isinstance(schema_id, int)
        self._answer(schema_id)
        if schema_id not in self.schemas:
            raise UnknownSchema("there is none")
        return self.schemas[schema_id]

    def latest(self, subject: str) -> RegisteredSchema | None:
        self._answer(subject)
        return self.subjects[subject][-1] if self.subjects.get(subject) else None

    def look_up(self, subject: str, schema: Schema) -> RegisteredSchema | None:
        self._answer(subject)
        return next((each for each in self.subjects.get(subject, []) if each.schema == schema), None)

    def register(self, subject: str, schema: Schema) -> RegisteredSchema:
        self._answer(subject)
        if "bad" in schema.text:
            raise Refused("no")
        made = RegisteredSchema(schema, 1 + sum(map(len, self.subjects.values())))
        self.subjects.setdefault(subject, []).append(made)
        return made

    def _answer(self, asked: object) -> None:
        self.calls.append(asked)
        if self.hanging is not None:
            self.hanging.wait(30)
        if not self.up:
            raise tm.Retryable("connection refused")


@pytest.fixture
def fake() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def cache(fake: FakeRegistry) -> SchemaCache:
    return SchemaCache(fake, Refused, 100, wait=0.2)


def test_a_schema_is_requested_once(fake: FakeRegistry, cache: SchemaCache) -> None:
    assert [cache.by_id(7) for _ in range(5)] == [fake.schemas[7]] * 5
    assert fake.calls == [7]


def test_an_unknown_id_is_not_a_failure_of_the_registry(fake: FakeRegistry, cache: SchemaCache) -> None:
    for _ in range(3):
        with pytest.raises(UnknownSchema):
            cache.by_id(8)
    assert fake.calls == [8]
    assert cache.figures.up


def test_requests_are_retried_while_the_registry_is_down(
    fake: FakeRegistry, cache: SchemaCache, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tidemill.registry")
    fake.up = False
    with pytest.raises(tm.Retryable):
        cache.by_id(7)
    wait_for(lambda: len(fake.calls) > 1, 10, "another attempt")
    with pytest.raises(tm.Retryable, match="connection refused"):
        cache.by_id(7)
    assert not cache.figures.up
    fake.up = True
    wait_for(lambda: cache.figures.up, 10, "an answer")
    assert cache.by_id(7) == fake.schemas[7]
    said = [record.message for record in caplog.records]
    assert "connection refused" in said[0]
    assert "answers again" in said[-1]


def test_a_registry_that_hangs_is_waited_for_a_moment_only(fake: FakeRegistry, cache: SchemaCache) -> None:
    fake.hanging = Event()
    began = time.monotonic()
    for _ in range(20):
        with pytest.raises(tm.Retryable, match="has not answered yet"):
            cache.by_id(7)
    assert time.monotonic() - began < 5 * PATIENCE
    fake.hanging.set()
    wait_for(lambda: cache.figures.requests, 10, "the answer")
    assert cache.by_id(7) == fake.schemas[7]


def test_an_unavailable_schema_does_not_block_others(fake: FakeRegistry, cache: SchemaCache) -> None:
    class Half(FakeRegistry):
        def _answer(self, asked: object) -> None:
            if asked == 1:
                raise tm.Retryable("the server fails for this one")

    half = Half()
    cache = SchemaCache(half, Refused, 100, wait=0.2)
    with pytest.raises(tm.Retryable):
        cache.by_id(1)

    def other() -> bool:
        try:
            return cache.by_id(7) == half.schemas[7]
        except tm.Retryable:
            return False

    wait_for(other, 10, "the other schema")


def record(*fields: str) -> Schema:
    shown = ", ".join(f'{{"name": "{name}", "type": "long"}}' for name in fields)
    return Schema("AVRO", f'{{"type": "record", "name": "R", "fields": [{shown}]}}')


def test_a_schema_is_registered_once_and_found_again(fake: FakeRegistry, cache: SchemaCache) -> None:
    first = cache.to_write("a-value", record("x"), register=True, key=False)
    assert cache.to_write("a-value", record("x"), register=False, key=True).id == first.id
    assert cache.to_write("a-value", None, register=False, key=False).id == first.id
    second = cache.to_write("a-value", record("y"), register=True, key=False)
    assert second.id != first.id


@pytest.mark.parametrize(
    ("schema", "register", "key", "said"),
    [
        (record("y"), False, False, "register=False: register it first"),
        (record("y"), True, True, "gives every key other bytes"),
        (record("x", "bad"), True, False, "'bad' has no default in this program and is missing in the latest schema"),
    ],
)
def test_an_unusable_schema_is_refused_with_a_remedy(
    fake: FakeRegistry, cache: SchemaCache, schema: Schema, register: bool, key: bool, said: str
) -> None:
    cache.to_write("a-value", record("x"), register=True, key=False)
    with pytest.raises(tm.TopologyError, match=said):
        cache.to_write("a-value", schema, register=register, key=key)


def test_the_latest_schema_of_nothing_is_refused(cache: SchemaCache) -> None:
    with pytest.raises(tm.TopologyError, match="has no schema under the subject 'a-value'"):
        cache.to_write("a-value", None, register=False, key=False)
