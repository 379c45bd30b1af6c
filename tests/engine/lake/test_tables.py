"""Tables of Iceberg and Delta as targets: what holds of both."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest

import tidemill as tm
from tidemill.engine.lake import table_session

from .table_formats import View, Wider, given, pairs, records, session

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    "ignore:Delete operation did not match any records",
)
UTC = dt.timezone.utc
S3 = [pytest.mark.slow, pytest.mark.xdist_group("s3")]
ICEBERG = pytest.param("iceberg-file", marks=pytest.mark.slow)
FORMATS = pytest.mark.parametrize("where", [ICEBERG, "delta-file"], indirect=True)
STORES = pytest.mark.parametrize(
    "where",
    [ICEBERG, "delta-file", pytest.param("iceberg-s3", marks=S3), pytest.param("delta-s3", marks=S3)],
    indirect=True,
)


@STORES
def test_events_are_appended_with_the_columns_of_their_model(where: Any) -> None:
    one = session(where.target(partition_by=["kind"], timestamp="at").accept(given(tm.json(View))))
    assert one.position() is None
    one.stage(records(View("ann", 1.5, "buy"), View("bob", 2.0)))
    assert where.rows() == []
    one.commit(2)
    one.write(records(View("cid", 3.0, "buy"), first=2), 3)
    assert one.position() == 3
    at = [dt.datetime(1970, 1, 1, 0, 0, 1, ms * 1000, UTC) for ms in (0, 1)]
    assert sorted(where.rows(), key=lambda row: row["user"]) == [
        {"user": "ann", "amount": 1.5, "kind": "buy", "at": at[0]},
        {"user": "bob", "amount": 2.0, "kind": None, "at": at[1]},
        {"user": "cid", "amount": 3.0, "kind": "buy", "at": at[0]},
    ]
    assert where.partitions() == ["kind"]


@FORMATS
def test_rows_are_kept_by_key(where: Any) -> None:
    one = session(where.target().accept(given(tm.json(View), tm.utf8, table=True)))
    one.write(pairs(("a", View("ann", 1.0)), ("b", View("bob", 2.0)), ("a", None), ("c", View("cid", 3.0))), 4)
    assert where.users() == ["bob", "cid"]
    one.stage(pairs(("a", View("ann", 4.0)), ("b", View("bob", 5.0)), first=4))
    one.stage(pairs(("c", None), ("d", None), first=6))
    one.commit(8)
    assert sorted((row["key"], row["amount"]) for row in where.rows()) == [("a", 4.0), ("b", 5.0)]
    one.write(pairs(("x", None), first=8), 9)
    assert one.position() == 9, "although no row has changed"


@FORMATS
def test_rows_of_windows(where: Any) -> None:
    target = where.target(columns={"count": "int64"}, key={"the_user": "string"})
    one = session(target.accept(given(None, tm.utf8, table=True, windowed=True)))
    keys = [tm.Windowed("a", 0, 60_000), tm.Windowed("a", 60_000, 120_000), tm.Windowed("b", 0, 60_000)]
    one.write(pairs(*((key, {"count": 1}) for key in keys)), 3)
    one.write(pairs((keys[0], {"count": 5}), (keys[2], None), first=3), 5)
    start = dt.datetime(1970, 1, 1, tzinfo=UTC)
    found = sorted((row["the_user"], row["window_start"], row["count"]) for row in where.rows())
    assert found == [("a", start, 5), ("a", start + dt.timedelta(minutes=1), 1)]


@STORES
def test_an_owner_that_was_replaced_writes_nothing(where: Any) -> None:
    target = where.target().accept(given(tm.json(View)))
    first = session(target, "first")
    first.write(records(View("ann", 1.0)), 1)
    first.stage(records(View("bob", 2.0), first=1))
    second = session(target, "second")
    assert second.position() == 1
    calls: list[Callable[[], object]] = [lambda: first.commit(2), first.position, lambda: first.commit(2)]
    for call in calls:
        with pytest.raises(tm.TargetFenced):
            call()
    second.write(records(View("bob", 2.0), first=1), 2)
    assert where.users() == ["ann", "bob"]


@STORES
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("writes", [False, True])
def test_an_owner_that_stood_still_in_a_commit_is_refused(
    where: Any, monkeypatch: pytest.MonkeyPatch, writes: bool, table: bool
) -> None:
    """It had read its own epoch; the next owner opens the task, or writes too, before it goes on."""
    target = where.target().accept(given(tm.json(View), tm.utf8, table=table))
    bob = pairs(("b", View("bob", 2.0)), first=1)
    first = session(target, "first")
    first.write(pairs(("a", View("ann", 1.0))), 1)
    first.stage(bob)
    second: list[Any] = []

    def stands_still(name: str) -> None:
        if second:
            return
        second.append(None)
        monkeypatch.setattr(table_session, "_locks", {})  # the next owner is another process
        second[0] = session(target, "second")
        if writes:
            second[0].write(bob, 2)

    monkeypatch.setattr(table_session, "hit", stands_still)
    with pytest.raises(tm.TargetFenced):
        first.commit(2)
    if not writes:
        second[0].write(bob, 2)
    assert where.users() == ["ann", "bob"]
    assert second[0].position() == 2


@pytest.mark.slow
@FORMATS
def test_other_writers_and_maintenance_go_on(where: Any) -> None:
    target = where.target().accept(given(tm.json(View)))
    sessions = [session(target, partition=number) for number in range(2)]
    failed: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for at in range(8):
                sessions[number].write(records(View(f"{number}-{at}", 1.0), first=at), at + 1)
        except BaseException as error:
            failed.append(error)

    def maintain() -> None:
        for at in range(6):
            try:
                where.maintain(at)
            except where.conflict:
                continue

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    threads.append(threading.Thread(target=maintain))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    found = [user for user in where.users() if not user.startswith("other")]
    assert found == sorted(f"{number}-{at}" for number in range(2) for at in range(8))
    assert [one.position() for one in sessions] == [8, 8]


@FORMATS
@pytest.mark.parametrize("table", [False, True])
def test_the_schema_of_a_table_evolves(where: Any, table: bool) -> None:
    old = session(where.target().accept(given(tm.json(View), tm.utf8, table=table)))
    old.write(pairs(("a", View("ann", 1.0))), 1)
    new = session(where.target().accept(given(tm.json(Wider), tm.utf8, table=table)), partition=1)
    new.write(pairs(("b", Wider("bob", 2.0, "x", 5))), 1)
    old.write(pairs(("c", View("cid", 3.0, "y")), first=1), 2)
    assert sorted((row["user"], row["kind"], row["more"]) for row in where.rows()) == [
        ("ann", None, None),
        ("bob", "x", 5),
        ("cid", "y", None),
    ]


@FORMATS
def test_what_does_not_fit_is_said(where: Any) -> None:
    with pytest.raises(tm.ConfigError, match="no table"):
        session(where.target(create=False).accept(given(tm.json(View))))
    session(where.target().accept(given(tm.json(View))))
    with pytest.raises(tm.ConfigError, match="lacks the columns more"):
        session(where.target(evolve=False).accept(given(tm.json(Wider))))
    with pytest.raises(tm.ConfigError, match="amount"):
        session(where.target(columns={"amount": "string"}).accept(given()))
