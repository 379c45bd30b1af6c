"""Tests of Redis as a target, on a real server: rows, forms, expiry, fencing, scripts that come late, crashes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

import tidemill as tm
from tests.brokers.redis import VALKEY, Redis, running
from tidemill.engine.targets.batch_writer import BatchWriter
from tidemill.operators.graph.target import TargetInput

pytestmark = pytest.mark.slow
OPEN: list[tm.TargetSession] = []
TABLE = TargetInput(tm.utf8, tm.json, windowed=False, table=True)


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def prefix() -> str:
    """A prefix of keys that no other test has."""
    return f"{uuid.uuid4().hex[:12]}:"


def session(target: tm.Target, name: str, epoch: str | None = None) -> tm.TargetSession:
    one = target.open(tm.TargetTask("app", name, "topic", "id", 0), epoch or uuid.uuid4().hex)
    OPEN.append(one)
    one.position()
    return one


def records(*pairs: tuple[Any, Any], first: int = 0) -> list[tm.Record[Any, Any]]:
    return [tm.Record(key, value, 1_000 + n, (), first + n) for n, (key, value) in enumerate(pairs)]


class View(msgspec.Struct):
    user: str
    amount: float


def test_rows_are_kept_by_key(redis: Redis, prefix: str) -> None:
    one = session(tm.redis(redis.url, prefix).accept(TABLE), prefix)
    assert one.position() is None
    one.write(records(("a", View("ann", 1.0)), ("b", View("bob", 2.0)), ("a", None), ("c", View("cid", 3.0))), 4)
    assert one.position() == 4
    one.write(records(("a", View("ann", 4.0)), ("c", None), ("d", None), ("b", {}), first=4), 8)
    one.write([], 9)
    assert redis.rows(prefix) == {"a": '{"user":"ann","amount":4.0}', "b": "{}"}
    assert one.position() == 9


def test_keys_and_values_as_they_are_written(redis: Redis, prefix: str) -> None:
    one = session(tm.redis(redis.url, prefix), prefix)
    window = tm.Windowed("é", 60_000, 120_000)
    key, value = uuid.UUID(int=7), b"\x01"
    one.write(records((window, 5), (17, 2.5), (key, ""), (b"raw", value), (("a", 1), [None, True]), ("empty", b"")), 6)
    rows = {"é:60000:120000": "5", "17": "2.5", str(key): "", "raw": "\x01", '["a",1]': "[null,true]", "empty": ""}
    assert redis.rows(prefix) == rows


def test_values_without_a_form_are_refused(redis: Redis, prefix: str) -> None:
    one = session(tm.redis(redis.url, prefix), prefix)
    with pytest.raises(tm.RecordsRefused) as failure:
        one.write(records(("a", 1), ("b", float("nan")), ("c", object())), 3)
    assert sorted(failure.value.errors) == [1, 2]
    assert one.position() is None
    assert redis.rows(prefix) == {}


def test_rows_expire(redis: Redis, prefix: str) -> None:
    one = session(tm.redis(redis.url, prefix, expire="1h"), prefix)
    one.write(records(("a", 1)), 1)
    with redis.client() as client:
        assert 3_500_000 < client.pttl(f"{prefix}a") <= 3_600_000


def test_a_former_owner_is_refused(redis: Redis, prefix: str) -> None:
    target = tm.redis(redis.url, prefix)
    first = session(target, prefix)
    first.write(records(("a", 1)), 1)
    second = session(target, prefix)
    assert second.position() == 1
    for _ in range(2):
        with pytest.raises(tm.TargetFenced):
            first.write(records(("a", 2), first=1), 2)
        with pytest.raises(tm.TargetFenced):
            first.position()
    second.write(records(("b", 3), first=1), 2)
    assert redis.rows(prefix) == {"a": "1", "b": "3"}


def test_a_write_that_a_stopped_server_carries_out_late_changes_nothing(own_redis: Redis) -> None:
    """Its owner has connected again by then, and has written more."""
    writer = BatchWriter(
        tm.redis(f"{own_redis.url}?socket_timeout=0.5", "late:"), tm.TargetTask("app", "s", "t", "id", 0), "epoch"
    )
    assert writer.write(records(("a", 1)), 1) == {}
    own_redis.pause()
    with pytest.raises(tm.TargetUnavailable):
        writer.write(records(("a", 2), first=1), 2)
    own_redis.resume()
    assert writer.write(records(("a", 2), ("a", 3), first=1), 3) == {}
    writer.close()
    assert own_redis.rows("late:") == {"a": "3"}


def test_a_write_is_compared_with_the_position_it_goes_on_from(redis: Redis, prefix: str) -> None:
    one = session(tm.redis(redis.url, prefix), prefix, epoch="epoch")
    late = session(tm.redis(redis.url, prefix), prefix, epoch="epoch")
    one.write(records(("a", 1), ("a", 2)), 2)
    with pytest.raises(tm.TargetUnavailable, match="position"):
        late.write(records(("a", 1)), 1)
    assert redis.rows(prefix) == {"a": "2"}
    assert one.position() == late.position() == 2


@pytest.mark.parametrize("command", [None, VALKEY])
def test_a_crash_of_the_server_in_between(command: str | None) -> None:
    with running(command=command) as server:
        writer = BatchWriter(tm.redis(server.url, "x:"), tm.TargetTask("app", "s", "t", "id", 0), "epoch")
        assert writer.write(records(("a", 1)), 1) == {}
        server.kill()
        for _ in range(2):
            with pytest.raises(tm.TargetUnavailable):
                writer.write(records(("b", 2), first=1), 2)
        server.start()
        assert writer.write(records(("b", 2), first=1), 2) == {}
        assert server.rows("x:") == {"a": "1", "b": "2"}
        writer.close()


def test_a_server_that_syncs_once_a_second_is_waited_for() -> None:
    """A server of version 7.2 or later says when a write is on disk."""
    with running("--appendonly", "yes", "--appendfsync", "everysec", command=VALKEY) as server:
        one = session(tm.redis(server.url, "x:"), "s")
        for number in range(3):
            one.write(records(("a", number), first=number), number + 1)
        assert server.rows("x:") == {"a": "2"}
        with server.client() as client:
            assert client.info("commandstats")["cmdstat_waitaof"]["calls"] >= 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("--appendonly", "no"), "in memory only: set appendonly yes"),
        (("--appendonly", "yes", "--appendfsync", "no", "--maxmemory-policy", "allkeys-lru"), "drops keys"),
        (("--appendonly", "yes", "--rename-command", "CONFIG", ""), "does not tell"),
        (("--cluster-enabled", "yes"), "one of a cluster"),
        (("--requirepass", "secret"), "Authentication"),
    ],
)
def test_servers_that_may_lose_rows_are_refused(settings: tuple[str, ...], message: str) -> None:
    with running(*settings, command=VALKEY) as server:
        with pytest.raises(tm.ConfigError, match=message) as failure:
            session(tm.redis(server.url, "x:"), "totals")
        assert "step 'totals'" in str(failure.value)
        if "durable=False" in str(failure.value):
            one = session(tm.redis(server.url, "x:", durable=False), "totals")
            one.write(records(("a", 1)), 1)
            assert one.position() == 1


def test_a_full_server_is_unavailable_and_keeps_nothing_of_the_write(own_redis: Redis) -> None:
    one = session(tm.redis(own_redis.url, "x:"), "s")
    with own_redis.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(tm.TargetUnavailable):
            one.write(records(("a", 1)), 1)
        client.config_set("maxmemory", "0")
    assert own_redis.rows("x:") == {}
    assert one.position() is None
    one.write(records(("a", 1)), 1)
    assert own_redis.rows("x:") == {"a": "1"}


def test_what_cannot_be_is_refused_when_the_program_is_written() -> None:
    app = tm.App("shop")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    with pytest.raises(tm.TopologyError, match=r"\.to_table\(\)"):
        views.sink(tm.redis("redis://localhost", "views:"))
    for wrong in (("localhost", "x"), ("redis://localhost", "")):
        with pytest.raises(tm.TopologyError, match=r"tm\.redis\("):
            tm.redis(*wrong)
    with pytest.raises(tm.TopologyError, match="expire"):
        tm.redis("redis://localhost", "x", expire="0s")
    assert repr(tm.redis("redis://:secret@localhost", "x")) == "redis(prefix='x')"
