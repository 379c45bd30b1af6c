"""The files of a history, and the positions beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemill.engine.history.files import SinkLog, base_of, hive_columns, list_files, matcher, positions_of
from tidemill.engine.lake.commit_log import CommitLog, LogEntry
from tidemill.engine.snapshots.fsspec_storage import opened
from tidemill.operators.errors import TopologyError


@pytest.mark.parametrize(
    ("url", "base", "pattern"),
    [
        ("s3://lake/views/*.parquet", "s3://lake/views", "*.parquet"),
        ("s3://lake/*/views/**/a?.parquet", "s3://lake", "*/views/**/a?.parquet"),
        ("file:///lake/views", "file:///lake/views", ""),
        ("file:///lake/one.parquet", "file:///lake", "one.parquet"),
    ],
)
def test_the_base_of_a_pattern(url: str, base: str, pattern: str) -> None:
    assert base_of(url) == (base, pattern)


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("", "a/b.parquet", True),
        ("", "a/b.crc", False),
        ("*.parquet", "b.parquet", True),
        ("*.parquet", "a/b.parquet", False),
        ("**/*.parquet", "b.parquet", True),
        ("**/*.parquet", "a/c/b.parquet", True),
        ("a[0-9].parquet", "a7.parquet", True),
        ("a[!0-9].parquet", "a7.parquet", False),
        ("kind=*/a?.parquet", "kind=x/ab.parquet", True),
        ("a+.parquet", "aa.parquet", False),
    ],
)
def test_patterns(pattern: str, path: str, matches: bool) -> None:
    assert (matcher(pattern).fullmatch(path) is not None) == matches


def test_folders_are_columns() -> None:
    assert hive_columns("kind=buy/day=2026-01-02/a=b.parquet") == {"kind": "buy", "day": "2026-01-02"}


def log(partition: int, position: int | None, **other: str) -> SinkLog:
    where = {"application": "app", "sink": "out", "topic": "views", "topic_id": "id", **other}
    return SinkLog(**where, partition=partition, entry=1, position=position)


def test_positions_of_the_topic() -> None:
    assert positions_of((), "views", "id", 2, "source") is None
    logs = (log(0, 7), log(1, None), log(0, 9, topic_id="older"))
    assert positions_of(logs, "views", "id", 3, "source") == {0: 7, 1: -1, 2: -1}


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ((log(0, 7, topic="app-views-repartition"),), "not of this topic"),
        ((log(0, 7, topic_id="older"),), "another topic of that name"),
        ((log(0, 7), log(0, 8, sink="other")), "several sinks"),
    ],
)
def test_positions_that_say_nothing_are_refused(logs: tuple[SinkLog, ...], message: str) -> None:
    with pytest.raises(TopologyError, match=message) as failure:
        positions_of(logs, "views", "id", 2, "source")
    assert "until=" in str(failure.value)


def test_files_are_listed_with_the_logs(tmp_path: Path) -> None:
    storage = opened(f"file://{tmp_path}")
    for path in ("b.parquet", "a/c.parquet", "_temporary/d.parquet", ".e.parquet", "f.txt"):
        storage.put_new(path, b"")
    CommitLog(storage, "_tidemill/app/out/views/id/1/log").append(1, LogEntry("epoch", 12))
    found = list_files(storage, "")
    assert found.paths == ("a/c.parquet", "b.parquet")
    assert found.logs == (log(1, 12),)
