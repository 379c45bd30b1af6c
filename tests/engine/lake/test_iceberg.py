"""What holds of tables of Iceberg only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.transforms import parse_transform
from sqlalchemy.exc import IntegrityError

import tidemill as tm
from tidemill.engine.lake.changes import changes_of
from tidemill.engine.lake.columns import DELETED
from tidemill.engine.lake.iceberg_partitions import partition_fields

from .table_formats import IcebergFormat, View, Wider, given, records, session

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


def test_partitions_are_transforms_of_columns(iceberg: IcebergFormat) -> None:
    one = session(iceberg.target(partition_by=["kind", "day(at)"], timestamp="at").accept(given(tm.json(View))))
    one.write(records(View("ann", 1.5, "buy"), View("bob", 2.0)), 2)
    assert [str(field.transform) for field in iceberg.table().spec().fields] == ["identity", "day"]
    assert iceberg.users() == ["ann", "bob"]


def test_pyiceberg_would_let_a_stale_commit_succeed(iceberg: IcebergFormat) -> None:
    """Why retries are off: with them, a commit is made again on the new snapshot."""
    session(iceberg.target().accept(given(tm.json(View))))
    row = pa.table({"user": ["a"], "amount": [1.0], "kind": ["x"]})
    stale, other, off = (iceberg.table() for _ in range(3))
    other.append(row)
    stale.append(row)
    off.metadata.properties["commit.retry.num-retries"] = "0"
    with pytest.raises(CommitFailedException):
        off.append(row)


def test_the_schema_and_the_partitions_of_a_table_evolve(iceberg: IcebergFormat) -> None:
    old = session(iceberg.target().accept(given(tm.json(View))))
    old.write(records(View("ann", 1.0)), 1)
    new = session(iceberg.target().accept(given(tm.json(Wider))), partition=1)
    new.write(records(Wider("bob", 2.0, "x", 5)), 1)
    with iceberg.table().update_spec() as spec:
        spec.add_field("kind", parse_transform("identity"))
    old.write(records(View("cid", 3.0, "y"), first=1), 2)
    new.write(records(Wider("dan", 4.0, "y", 6), first=1), 2)
    assert sorted((row["user"], row["kind"], row["more"]) for row in iceberg.rows()) == [
        ("ann", None, None),
        ("bob", "x", 5),
        ("cid", "y", None),
        ("dan", "y", 6),
    ]
    files = iceberg.table().inspect.files().to_pylist()
    assert sorted(file["spec_id"] for file in files) == [0, 0, 1, 1]


def test_a_namespace_that_another_task_creates_at_the_same_moment(
    iceberg: IcebergFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = SqlCatalog.create_namespace

    def too_late(catalog: SqlCatalog, namespace: str, *_: object) -> None:
        create(catalog, namespace)
        raise IntegrityError("insert", None, Exception("UNIQUE constraint failed"))

    monkeypatch.setattr(SqlCatalog, "create_namespace", too_late)
    session(iceberg.target().accept(given(tm.json(View)))).write(records(View("ann", 1.0)), 1)
    assert iceberg.users() == ["ann"]


def test_a_catalog_that_is_away(iceberg: IcebergFormat) -> None:
    away = IcebergFormat({**iceberg.catalog, "uri": "sqlite:////nowhere/catalog.db"})
    with pytest.raises(tm.TargetUnavailable):
        session(away.target().accept(given(tm.json(View))))


def test_what_cannot_be_is_refused_when_the_program_is_written() -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json(View))
    catalog = {"type": "sql"}
    wrong: list[Callable[[], Any]] = [
        lambda: tm.iceberg("views", catalog=catalog),
        lambda: tm.iceberg("lake.views", catalog=catalog, roll="soon"),
        lambda: views.sink(tm.iceberg("lake.views", catalog=catalog, partition_by=["week(user)"])),
        lambda: views.sink(tm.iceberg("lake.views", catalog=catalog, key={"user": "string"})),
    ]
    for build in wrong:
        with pytest.raises(tm.TopologyError):
            build()


def test_partitions_as_they_are_written() -> None:
    fields = partition_fields(["kind", "day(at)", "bucket(16, user)", "truncate(4, user)"], ["kind", "at", "user"], "x")
    assert [tuple(field) for field in fields] == [
        ("kind", "identity"), ("at", "day"), ("user", "bucket[16]"), ("user", "truncate[4]"),
    ]  # fmt: skip


def test_the_last_change_of_each_key_counts() -> None:
    staged = pa.table(
        {"k": ["a", "b", "a", "c", "b"], "v": [1, 2, 3, 4, 5], DELETED: [False, False, False, False, True]}
    )
    changes = changes_of(staged, ["k"])
    assert (changes.keys.to_pylist(), changes.rows.to_pylist()) == (
        [{"k": "a"}, {"k": "c"}, {"k": "b"}],
        [{"k": "a", "v": 3}, {"k": "c", "v": 4}],
    )
