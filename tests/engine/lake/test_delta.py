"""What holds of tables of Delta only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from deltalake import write_deltalake

import tidemill as tm

from .table_formats import DeltaFormat, View, given, pairs, session


def test_deltalake_would_let_a_stale_commit_succeed(delta: DeltaFormat) -> None:
    """Why retries are off: with them, a commit is made again on the new version."""
    session(delta.target().accept(given(tm.json(View))))
    row = pa.table({"user": ["a"], "amount": [1.0], "kind": ["x"]})
    stale, other = delta.table(), delta.table()
    write_deltalake(other, row, mode="append")
    write_deltalake(stale, row, mode="append")
    assert len(delta.rows()) == 2


def test_names_of_columns_may_have_spaces(delta: DeltaFormat) -> None:
    target = delta.target(columns={"the count": "int64"}, key={"the user": "string"})
    one = session(target.accept(given(None, tm.utf8, table=True)))
    one.write(pairs(("a", {"the count": 1}), ("b", {"the count": 2})), 2)
    one.write(pairs(("a", {"the count": 3}), ("b", None), first=2), 4)
    assert delta.rows() == [{"the user": "a", "the count": 3}]


def test_a_type_that_differs_is_named(delta: DeltaFormat) -> None:
    session(delta.target().accept(given(tm.json(View))))
    with pytest.raises(tm.ConfigError, match="'amount' is double, and the rows have string"):
        session(delta.target(columns={"amount": "string"}).accept(given()))


def test_what_cannot_be_is_refused_when_the_program_is_written() -> None:
    app = tm.App("views")
    views = app.stream("views", key=tm.utf8, value=tm.json(View))
    wrong: list[Callable[[], Any]] = [
        lambda: tm.delta("/lake/views"),
        lambda: tm.delta("hdfs://host/lake/views"),
        lambda: tm.delta("file:///lake", roll="soon"),
        lambda: views.sink(tm.delta("file:///lake/views", partition_by=["colour"])),
    ]
    for build in wrong:
        with pytest.raises(tm.TopologyError):
            build()
