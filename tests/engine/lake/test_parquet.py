"""Tests of Parquet files as a target: rows and types, folders, positions, replaced owners, and visibility."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import uuid
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import tidemill as tm
from tests.object_stores.places import Places
from tests.support.maven import Unavailable
from tidemill.engine.lake import commit_log
from tidemill.engine.lake.parquet import Parquet
from tidemill.engine.snapshots.fsspec_storage import opened

from .table_formats import View, given, records, session

UTC = dt.timezone.utc
STORES = pytest.mark.parametrize(
    "url",
    ["file", *(pytest.param(name, marks=[pytest.mark.slow, pytest.mark.xdist_group(name)]) for name in ("s3", "hdfs"))],
    indirect=True,
)


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder; a test that asks for stores has one in each."""
    scheme = getattr(request, "param", "file")
    if scheme == "file":
        return f"file://{tmp_path}/lake"
    try:
        place = places.at(scheme, uuid.uuid4().hex)
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return place.url


def visible(url: str) -> dict[str, bytes]:
    """The files that readers of the dataset see, by path."""
    storage = opened(url)
    found = storage.list("")
    shown = [path for path in found if not any(part[0] in "._" for part in path.split("/"))]
    assert all(path.endswith(".parquet") for path in shown)
    hidden = set(found) - set(shown)
    assert not [path for path in hidden if path.endswith(".parquet")], "a pattern such as **/*.parquet would match it"
    return {path: storage.read(path) for path in shown}


def rows(url: str, tmp_path: Path, by: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The rows that pyarrow reads, from a copy of the files."""
    folder = tmp_path / uuid.uuid4().hex
    folder.mkdir()
    for path, content in visible(url).items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return ds.dataset(folder, format="parquet", partitioning="hive" if by else None).to_table().to_pylist()


@STORES
def test_events_have_the_columns_of_their_model(url: str, tmp_path: Path) -> None:
    target = tm.parquet(url, partition_by=["kind"], timestamp="at").accept(given(tm.json(View)))
    one = session(target)
    assert one.position() is None
    one.stage(records(View("ann", 1.5, "buy"), View("bob", 2.0, "a/b=c é"), View("cid", 3.0)))
    assert visible(url) == {}, "what is staged is not there yet"
    one.commit(3)
    one.write(records(View("dan", 4.0, "buy"), first=3), 4)
    assert one.position() == 4
    found = rows(url, tmp_path, by=["kind"])
    expected = [("ann", 1.5, "buy", 1_000), ("bob", 2.0, "a/b=c é", 1_001), ("cid", 3.0, None, 1_002)]
    assert sorted((row["user"], row["amount"], row["kind"], round(row["at"].timestamp() * 1000)) for row in found) == [
        *expected,
        ("dan", 4.0, "buy", 1_000),
    ]
    folders = {path.rpartition("/")[0] for path in visible(url)}
    assert folders == {"kind=buy", "kind=a%2Fb%3Dc%20%C3%A9", "kind=__HIVE_DEFAULT_PARTITION__"}


@STORES
def test_an_owner_that_was_replaced_makes_nothing_visible(url: str, tmp_path: Path) -> None:
    target = tm.parquet(url).accept(given(tm.json(View)))
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
    assert sorted(row["user"] for row in rows(url, tmp_path)) == ["ann", "bob"]
    third = session(target, "third")
    assert third.position() == 2
    assert not [path for path in opened(url).list("") if path.endswith(".tmp")], "left over by the first"


class Died(Exception):
    pass


@pytest.mark.parametrize(
    ("place", "nth", "there"),
    [
        ("during-target-write", 1, False),
        ("during-target-publish", 1, True),
        ("between-target-files", 1, True),
        ("between-target-files", 2, True),
    ],
)
def test_a_commit_that_was_interrupted_is_completed_or_not_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, nth: int, there: bool
) -> None:
    target = tm.parquet(url, partition_by="kind").accept(given(tm.json(View)))
    one = session(target)
    one.stage(records(View("ann", 1.0, "a"), View("bob", 2.0, "b"), View("cid", 3.0, "c")))
    passed = 0

    def dies(name: str) -> None:
        nonlocal passed
        passed += name == place
        if name == place and passed == nth:
            raise Died

    with monkeypatch.context() as patch:
        for module in ("commit_log", "parquet_session"):
            patch.setattr(f"tidemill.engine.lake.{module}.hit", dies)
        with pytest.raises(Died):
            one.commit(3)
    other = session(target)
    assert other.position() == (3 if there else None)
    if not there:
        other.write(records(View("ann", 1.0, "a"), View("bob", 2.0, "b"), View("cid", 3.0, "c")), 3)
    assert sorted(row["user"] for row in rows(url, tmp_path, by=["kind"])) == ["ann", "bob", "cid"]


@STORES
def test_an_owner_that_wakes_in_the_middle_of_publishing_changes_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had written its entry; the next owner has published it, and gone on, and files were joined since."""
    target = tm.parquet(url).accept(given(tm.json(View)))
    one = session(target)
    one.write(records(View("ann", 1.0)), 1)
    publish = commit_log.CommitLog.publish
    woken: list[Callable[[], None]] = []
    with monkeypatch.context() as patch:
        patch.setattr(commit_log.CommitLog, "publish", lambda self, entry: woken.append(lambda: publish(self, entry)))
        one.write(records(View("bob", 2.0), first=1), 2)
    two = session(target)
    assert two.position() == 2
    two.write(records(View("cid", 3.0), first=2), 3)
    assert tm.parquet(url).compact() == 2
    for wake in woken:
        wake()
    assert sorted(row["user"] for row in rows(url, tmp_path)) == ["ann", "bob", "cid"]


def test_an_entry_in_the_place_of_a_deleted_one_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An owner that was paused since before the retained entries writes one entry, and no more."""
    monkeypatch.setattr(commit_log, "KEPT", 2)
    url = f"file://{tmp_path}/lake"
    target = tm.parquet(url).accept(given(tm.json(View)))
    old = session(target, "old")
    old.write(records(View("ann", 1.0)), 1)
    old.stage(records(View("bob", 2.0), first=1))
    new = session(target, "new")
    for number in range(1, 6):
        new.write(records(View(f"new{number}", 2.0), first=number), number + 1)
    before = visible(url)
    with pytest.raises(tm.TargetFenced):
        old.commit(2)
    assert (visible(url), new.position()) == (before, 6)


@dataclasses.dataclass
class Part:
    name: str
    size: int | None


class Kind(Enum):
    GOOD = "good"


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
    lasted: dt.timedelta
    kind: Kind
    maybe: int | None
    parts: list[Part]
    either: int | str
    any: Any


def test_values_of_all_types(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/lake"
    value = Everything(
        1 << 62, True, "é", b"\x00\xff", dt.datetime(2020, 2, 3, 4, 5, tzinfo=UTC), dt.date(2020, 2, 29),
        decimal.Decimal("1.10"), uuid.UUID(int=7), dt.timedelta(seconds=90), Kind.GOOD, None,
        [Part("a", 1), Part("b", None)], "x", {"a": [None, 1]},
    )  # fmt: skip
    session(tm.parquet(url).accept(given(tm.json(Everything)))).write(records(value), 1)
    [row] = rows(url, tmp_path)
    assert row == {
        **dataclasses.asdict(value), "price": "1.10", "id": str(value.id), "lasted": "PT90S", "kind": "good",
        "either": '"x"', "any": '{"a":[null,1]}',
    }  # fmt: skip
    with duckdb.connect() as database:
        [read] = database.execute(f"select * from '{tmp_path}/lake/*.parquet'").fetchall()
    assert (read[0], read[2], read[9], read[11][1]["name"]) == (1 << 62, "é", "good", "b")


def test_stated_columns_keys_and_windows(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/lake"
    target = tm.parquet(
        url, columns={"count": "int64", "price": pa.decimal128(9, 2), "more": "json"}, key={"item": "string"}
    ).accept(given(None, tm.utf8, windowed=True))
    key = tm.Windowed("pen", 0, 60_000)
    row = {"count": 3, "price": decimal.Decimal("1.5"), "more": {"a": 1}, "unused": 1}
    session(target).write([tm.Record(key, row, 5, (), 0)], 1)
    start = dt.datetime(1970, 1, 1, tzinfo=UTC)
    assert rows(url, tmp_path) == [
        {
            "item": "pen", "window_start": start, "window_end": start + dt.timedelta(minutes=1),
            "count": 3, "price": decimal.Decimal("1.50"), "more": '{"a":1}',
        }
    ]  # fmt: skip


def test_refused_records_are_named_and_nothing_of_the_batch_is_staged(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/lake"
    one = session(tm.parquet(url, columns={"n": "int32", "at": "timestamp"}).accept(given()))
    now = dt.datetime(2020, 1, 1, tzinfo=UTC)
    good, big, naive = {"n": 1, "at": now}, {"n": 1 << 40, "at": now}, {"n": 1, "at": now.replace(tzinfo=None)}
    with pytest.raises(tm.RecordsRefused) as refused:
        one.stage(records(good, {"n": 1}, None, naive))
    assert set(refused.value.errors) == {1, 2, 3}
    with pytest.raises(tm.RecordsRefused) as refused:
        one.stage(records(good, big, {"n": "x", "at": now}))
    assert set(refused.value.errors) == {1, 2}
    assert "column 'n'" in str(refused.value.errors[1])
    one.write(records(good), 4)
    assert rows(url, tmp_path) == [good]


def test_invalid_arguments_are_refused_when_the_program_is_built() -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json(View))
    wrong: list[Callable[[], Any]] = [
        lambda: tm.parquet("/lake"),
        lambda: tm.parquet("ftp://lake/views"),
        lambda: tm.parquet("file:///lake", roll="0s"),
        lambda: tm.parquet("file:///lake", roll_size="many"),
        lambda: tm.parquet("file:///lake", compression="best"),
        lambda: tm.parquet("file:///lake", columns={"a": "text of some kind"}),
        lambda: tm.parquet("file:///lake", columns={}),
        lambda: views.sink(tm.parquet("file:///lake", partition_by=["colour"])),
        lambda: views.sink(tm.parquet("file:///lake", partition_by=["amount"])),
        lambda: views.sink(tm.parquet("file:///lake", partition_by=["user", "kind", "amount"])),
        lambda: views.sink(tm.parquet("file:///lake", timestamp="user")),
        lambda: views.to_table().sink(tm.parquet("file:///lake")),
    ]
    for build in wrong:
        with pytest.raises(tm.TopologyError):
            build()


# Joining files


def test_small_files_are_joined(url: str, tmp_path: Path) -> None:
    target = tm.parquet(url, partition_by="kind").accept(given(tm.json(View)))
    assert isinstance(target, Parquet)
    one = session(target)
    for number in range(6):
        one.write(records(View(f"u{number}", 1.0, "ab"[number % 2]), first=number), number + 1)
    assert target.compact() == 5, "the files of the latest entry stay"
    assert len(visible(url)) == 3
    assert sorted(row["user"] for row in rows(url, tmp_path, by=["kind"])) == [f"u{number}" for number in range(6)]
    assert target.compact() == 0
    one.write(records(View("u6", 1.0, "a"), first=6), 7)
    assert sorted(row["user"] for row in rows(url, tmp_path, by=["kind"])) == [f"u{number}" for number in range(7)]


@pytest.mark.parametrize("place", ["during-target-write", "during-target-publish", "between-target-files"])
def test_a_compaction_that_was_interrupted_is_completed_by_the_next(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    target = tm.parquet(url)
    one = session(target.accept(given(tm.json(View))))
    for number in range(4):
        one.write(records(View(f"u{number}", 1.0), first=number), number + 1)

    def dies(name: str) -> None:
        if name == place:
            raise Died

    with monkeypatch.context() as patch:
        for module in ("commit_log", "compaction"):
            patch.setattr(f"tidemill.engine.lake.{module}.hit", dies)
        with pytest.raises(Died):
            target.compact()
    target.compact()
    assert len(visible(url)) == 2
    assert sorted(row["user"] for row in rows(url, tmp_path)) == ["u0", "u1", "u2", "u3"]


def test_files_with_other_columns_are_joined_too(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/lake"
    for number, columns in enumerate(({"a": "int32"}, {"a": "int64", "b": "string"}, {"b": "string"}, {"b": "string"})):
        target = tm.parquet(url, columns=columns).accept(given())
        value = {name: {"a": number, "b": "x"}[name] for name in columns}
        session(target).write(
            records(value if len(value) > 1 else next(iter(value.values())), first=number), number + 1
        )
    assert tm.parquet(url).compact() == 3
    found = rows(url, tmp_path)
    assert sorted(found, key=str) == sorted(
        [{"a": 0, "b": None}, {"a": 1, "b": "x"}, {"a": None, "b": "x"}, {"a": None, "b": "x"}], key=str
    )
