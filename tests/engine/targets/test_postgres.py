"""Tests of PostgreSQL as a target, on a real server: rows, types, keys, refused records, table checks, fencing."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from typing import Any

import msgspec
import psycopg
import pytest

import tidemill as tm
from tests.brokers.postgres import Postgres
from tidemill.engine.targets.batch_writer import BatchWriter

UTC = dt.timezone.utc


OPEN: list[tm.TargetSession] = []


@pytest.fixture(autouse=True)
def closing() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


class Kind(Enum):
    GOOD = "good"


class View(msgspec.Struct):
    user: str
    amount: float
    kind: Kind | None = None


@pytest.fixture
def table(postgres: Postgres) -> Callable[[], str]:
    """Names of tables that no other test has."""
    return lambda: f"t_{uuid.uuid4().hex[:12]}"


def given(value: Any = None, key: Any = None, *, table: bool, windowed: bool = False) -> tm.TargetInput:
    return tm.TargetInput(key, value, windowed, table)


def session(target: tm.Target, name: str = "sink", epoch: str | None = None, partition: int = 0) -> tm.TargetSession:
    one = target.open(tm.TargetTask("app", name, "topic", "id", partition), epoch or uuid.uuid4().hex)
    OPEN.append(one)
    return one


def records(*pairs: tuple[Any, Any], first: int = 0) -> list[tm.Record[Any, Any]]:
    return [tm.Record(key, value, 1_000 + n, (), first + n) for n, (key, value) in enumerate(pairs)]


@pytest.mark.slow
def test_events_are_appended_with_the_columns_of_their_model(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name, timestamp="at").accept(given(tm.json(View), tm.utf8, table=False))
    one = session(target, name)
    assert one.position() is None
    one.write(records(("a", View("ann", 1.5, Kind.GOOD)), ("b", View("bob", float("inf")))), 2)
    assert one.position() == 2
    one.close()
    at = [dt.datetime(1970, 1, 1, 0, 0, 1, ms * 1000, UTC) for ms in (0, 1)]
    rows = postgres.rows(f'select "user", amount, kind, at from {name}')
    assert rows == [("ann", 1.5, "good", at[0]), ("bob", float("inf"), None, at[1])]


@dataclasses.dataclass
class Everything:
    whole: int
    truth: bool
    text: str
    blob: bytes
    when: dt.datetime
    day: dt.date
    price: decimal.Decimal
    id: uuid.UUID
    maybe: int | None
    parts: list[int]
    any: Any


def test_values_of_all_types_come_back(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    value = Everything(
        1 << 62, True, "é\\\t\n,\"'", b"\x00\xff\\", dt.datetime(2020, 2, 3, 4, 5, tzinfo=UTC), dt.date(2020, 2, 29),
        decimal.Decimal("1.10"), uuid.UUID(int=7), None, [1, 2], {"a": [None, "\\n"]},
    )  # fmt: skip
    target = tm.postgres(postgres.url, table=name).accept(given(tm.json(Everything), table=False))
    session(target, name).write(records((None, value)), 1)
    assert postgres.rows(f"select * from {name}") == [dataclasses.astuple(value)]


def test_rows_are_kept_by_key(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name).accept(given(tm.json(View), tm.utf8, table=True))
    one = session(target, name)
    one.write(records(("a", View("ann", 1.0)), ("b", View("bob", 2.0)), ("a", None), ("c", View("cid", 3.0))), 4)
    one.write(records(("a", View("ann", 4.0)), ("b", View("bob", 5.0)), ("c", None), ("d", None), first=4), 8)
    assert postgres.rows(f'select key, "user", amount from {name} order by key') == [
        ("a", "ann", 4.0),
        ("b", "bob", 5.0),
    ]
    assert one.position() == 8


def test_keys_of_windows_and_json_values(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name).accept(given(None, tm.utf8, table=True, windowed=True))
    one = session(target, name)
    rows = [(tm.Windowed("a", 0, 60_000), {"count": 1}), (tm.Windowed("a", 60_000, 120_000), {"count": 2})]
    one.write(records(*rows, (tm.Windowed("a", 0, 60_000), {"count": 3})), 3)
    start = dt.datetime(1970, 1, 1, tzinfo=UTC)
    assert postgres.rows(f"select * from {name} order by window_start") == [
        ("a", start, start + dt.timedelta(minutes=1), {"count": 3}),
        ("a", start + dt.timedelta(minutes=1), start + dt.timedelta(minutes=2), {"count": 2}),
    ]


def test_stated_columns_and_keys_of_several_parts(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    shop = tm.postgres(postgres.url, table=name, columns={"count": "bigint"}, key={"shop": "text", "day": "integer"})
    one = session(shop.accept(given(None, None, table=True)), name)
    one.write(records((("x", 1), {"count": 1, "more": 2}), (("x", 2), {"count": 5}), (("x", 1), None)), 3)
    assert postgres.rows(f"select shop, day, count from {name}") == [("x", 2, 5)]


def test_keys_that_the_server_takes_as_equal(postgres: Postgres, table: Callable[[], str]) -> None:
    """The last change counts, although Python has two keys."""
    name = table()
    target = tm.postgres(postgres.url, table=name, key={"n": "numeric(4,1)"}, columns={"v": "text"})
    one = session(target.accept(given(None, None, table=True)), name)
    one.write(records((1.04, {"v": "first"}), (1.02, {"v": "last"}), (2.01, {"v": "x"}), (2.02, None)), 4)
    assert postgres.rows(f"select n, v from {name}") == [(decimal.Decimal("1.0"), "last")]


def test_refused_records_are_named_and_the_others_not_written(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    postgres.rows(f"create table {name} (who text unique, amount double precision check (amount >= 0))")
    target = tm.postgres(postgres.url, table=name, columns={"who": "text", "amount": "double precision"})
    one = session(target.accept(given(None, None, table=False)), name)
    pairs = [
        ("ann", 1.0),
        ("bob", -1.0),
        ("ann", 2.0),
        ("nul\x00", 3.0),
        ("cid", 4.0),
        ("dan", "x"),
        ("sur\ud800", 1.0),
    ]
    batch = records(
        *((None, {"who": who, "amount": amount}) for who, amount in pairs), (None, {"who": "eve"}), (None, None)
    )
    with pytest.raises(tm.RecordsRefused) as refused:
        one.write(batch, 9)
    assert set(refused.value.errors) == {7, 8}, "what has no row at all is found first"
    with pytest.raises(tm.RecordsRefused) as refused:
        one.write(batch[:7], 7)
    assert set(refused.value.errors) == {1, 2, 3, 5, 6}
    assert "violates check constraint" in str(refused.value.errors[1])
    assert (one.position(), postgres.rows(f"select * from {name}")) == (None, [])
    one.write([batch[0], batch[4]], 9)
    assert postgres.rows(f"select who from {name}") == [("ann",), ("cid",)]


def test_refused_rows_of_a_table(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name, columns={"n": "smallint"}).accept(given(None, tm.utf8, table=True))
    one = session(target, name)
    with pytest.raises(tm.RecordsRefused) as refused:
        one.write(records(("a", 1), ("b", 70_000), (None, 2), ("c", "x"), ("d", None), (5, 1)), 6)
    assert "key={" in str(refused.value.errors[5])
    with pytest.raises(tm.RecordsRefused) as refused:
        one.write(records(("a", 1), ("b", 70_000), (None, 2), ("c", "x"), ("d", None)), 5)
    assert set(refused.value.errors) == {1, 2, 3}
    one.write(records(("a", 1), ("d", None)), 6)
    assert postgres.rows(f"select key, n from {name}") == [("a", 1)]


def test_a_deferred_constraint_names_its_record(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    postgres.rows(f"create table {name} (n bigint unique deferrable initially deferred)")
    one = session(tm.postgres(postgres.url, table=name, columns={"n": "bigint"}).accept(given(table=False)), name)
    with pytest.raises(tm.RecordsRefused) as refused:
        one.write(records((None, 1), (None, 2), (None, 1)), 3)
    assert set(refused.value.errors) == {2}


def test_a_table_that_does_not_fit_is_described(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    postgres.rows(f'create table {name} (key text, "user" bigint, extra text not null, id serial not null)')
    target = tm.postgres(postgres.url, table=name).accept(given(tm.json(View), tm.utf8, table=True))
    with pytest.raises(tm.ConfigError) as error:
        session(target, name)
    for part in (
        "step", "no column 'amount' (double precision)", "'user' is bigint, and the values are text",
        "'extra' must have a value", "no primary key or unique index on key", "create table if not exists",
    ):  # fmt: skip
        assert part in str(error.value), part
    assert "'id'" not in str(error.value)


def test_without_create_the_tables_must_be_there(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name, create=False).accept(given(tm.json(View), table=False))
    with pytest.raises(tm.ConfigError, match="To create it: create table if not exists"):
        session(target, name)


def test_a_table_in_a_schema_with_a_name_to_quote(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    postgres.rows(f'create schema "{name} S"')
    one = session(tm.postgres(postgres.url, table=f"{name} S.A b").accept(given(tm.utf8, table=False)), name)
    one.write(records((None, "x")), 1)
    assert postgres.rows(f'select value from "{name} S"."A b"') == [("x",)]
    assert postgres.rows(f'select "position" from "{name} S".tidemill_positions') == [(1,)]


def test_invalid_arguments_are_refused_when_the_program_is_built() -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json)
    table = views.to_table()
    wrong: list[Callable[[], Any]] = [
        lambda: tm.postgres("", table="t"),
        lambda: tm.postgres("postgresql://", table="t", columns={}),
        lambda: table.sink(tm.postgres("postgresql://", table="t", columns={"key": "text"})),
        lambda: table.sink(tm.postgres("postgresql://", table="t", key={"k": "jsonb"})),
        lambda: table.sink(print),  # pyright: ignore[reportArgumentType]
        lambda: views.sink(5),  # pyright: ignore[reportArgumentType]
    ]
    for build in wrong:
        with pytest.raises(tm.TopologyError):
            build()


# Owners


def test_an_owner_that_was_replaced_writes_nothing(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name).accept(given(tm.int64, table=False))
    first = session(target, name)
    first.write(records((None, 1)), 1)
    second = session(target, name)
    assert second.position() == 1
    calls: list[Callable[[], object]] = [lambda: first.write(records((None, 2), first=1), 2), first.position]
    for call in calls:
        with pytest.raises((tm.TargetFenced, tm.TargetUnavailable)):  # its connection was ended
            call()
        with pytest.raises(tm.TargetFenced):
            call()
    second.write(records((None, 3), first=1), 2)
    assert postgres.rows(f"select value from {name}") == [(1,), (3,)]


def test_the_connection_of_an_owner_that_is_paused_in_a_transaction_is_ended(
    postgres: Postgres, table: Callable[[], str]
) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=name).accept(given(tm.int64, table=False))
    session(target, name, epoch="a" * 32).write(records((None, 1)), 1)
    with psycopg.connect(postgres.url, application_name="tidemill-" + "a" * 32) as stopped:
        stopped.execute("update tidemill_positions set position = 9 where sink = %s", (name,))
        second = session(target, name)
        assert second.position() == 1
        second.write(records((None, 2), first=1), 2)
        with pytest.raises(psycopg.OperationalError):
            stopped.execute("select 1")


def test_tables_that_many_create_at_once(postgres: Postgres, table: Callable[[], str]) -> None:
    name = table()
    target = tm.postgres(postgres.url, table=f"{name}").accept(given(tm.int64, table=False))

    def write(partition: int) -> None:
        one = session(target, name, partition=partition)
        one.write(records((None, partition)), 1)
        one.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    assert sorted(postgres.rows(f"select value from {name}")) == [(n,) for n in range(16)]


@pytest.mark.slow
def test_a_crash_of_the_server_in_between(own_postgres: Postgres) -> None:
    target = tm.postgres(own_postgres.url, table="crashed").accept(given(tm.int64, table=False))
    writer = BatchWriter(target, tm.TargetTask("app", "sink", "topic", "id", 0), "epoch")
    assert writer.write(records((None, 1)), 1) == {}
    own_postgres.stop("immediate")
    for _ in range(2):
        with pytest.raises(tm.TargetUnavailable):
            writer.write(records((None, 2), first=1), 2)
    own_postgres.start()
    assert writer.write(records((None, 2), first=1), 2) == {}
    assert own_postgres.rows("select value from crashed") == [(1,), (2,)]
    writer.close()
