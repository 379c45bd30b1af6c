"""Tests of dumping stores of all kinds from directories and snapshots, in all formats."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

import tidemill as tm
from tests.support.bucket import Bucket
from tests.support.examples import every
from tests.support.programs import PROGRAMS
from tests.support.state_dirs import take_snapshots, write_state
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import ConfigError
from tidemill.engine.offline import entries
from tidemill.engine.offline.entries import DumpedRow, batches, dump, lookup
from tidemill.engine.offline.local import found_in
from tidemill.engine.offline.parts import DeclaredStore, declared_store, furthest, tasks_of
from tidemill.engine.offline.snapshots import SnapshotState
from tidemill.engine.offline.sources import source_at
from tidemill.engine.offline.writers import Format, format_of, writing
from tidemill.engine.snapshots.storage import StorageError
from tidemill.operators.graph.topology import Topology
from tidemill.state.directory import StateDirectory
from tidemill.state.store import InUse, Position


def topology_of(name: str) -> tuple[tm.App, Topology]:
    app = tm.App("test", on_error=tm.skip)
    PROGRAMS[name](app)
    return app, app.topology()


def stored(topology: Topology) -> list[DeclaredStore]:
    states = [state for node in topology.nodes for state in node.stores if state.spec.kind == "rocksdb"]
    return [declared_store(topology, state.spec.name) for state in states]


def filled(app: tm.App, partitions: int = 1, rounds: int = 40) -> tm.testing.TopologyDriver:
    driver = tm.testing.TopologyDriver(app, partitions=partitions)
    topics = sorted({topic for source in app.topology().sources for topic in source.topics})
    for number in range(rounds):
        for topic in topics:
            driver.send(topic, key="klmn"[number % 4], value=number * 7 % 13, timestamp=10 + number)
    return driver


WITH_STORES = [name for name in PROGRAMS if stored(topology_of(name)[1])]


@pytest.mark.parametrize("name", every(9, WITH_STORES))
def test_every_store_is_a_table_in_every_format(name: str, tmp_path: Path) -> None:
    app, topology = topology_of(name)
    with filled(app) as driver:
        write_state(driver, tmp_path / "test" / "worker-0")
        for declared in stored(topology):
            source = found_in(tmp_path, "test")
            assert source is not None
            rows = list(dump(source, declared))
            if declared.state.view.rows is None:
                queried = driver.store(declared.name)
                assert len(rows) == len(list(queried.items()))
            lines = written(rows, "jsonl", tmp_path)
            table = pq.read_table(file(rows, "parquet", tmp_path)).to_pylist()
            fields = written(rows, "csv", tmp_path)
            assert len(lines) == len(rows) == len(table) == len(fields)
            for line, row, field in zip(lines, table, fields, strict=True):
                assert field["task"] == row["task"] == line["task"]
                for column in ("key", "map_key", "kind", "side", "name", "position"):
                    if column in line:
                        assert row[column] == line[column]
                        assert field[column] == ("" if line[column] is None else str(line[column]))
                for time in ("timestamp", "window_start", "window_end", "due", "expires"):
                    if time in line:
                        assert row[time].timestamp() * 1000 == line[time]
                        assert field[time] == str(line[time])
                value = line.get("value")
                if isinstance(value, dict):
                    assert {f"value_{part}": row[f"value_{part}"] for part in value} == {
                        f"value_{part}": inner for part, inner in value.items()
                    }
                elif isinstance(value, list):
                    assert row["value"] == value or json.loads(row["value"]) == value
                elif value is not None:
                    assert row["value"] == value


def file(rows: list[DumpedRow], form: Format, folder: Path) -> Path:
    path = folder / f"dump.{form}"
    with writing(form, path) as writer:
        for batch in batches(rows):
            writer.write(batch)
    assert not list(folder.glob(".dump*")), "nothing is left beside it"
    return path


def written(rows: list[DumpedRow], form: Format, folder: Path) -> list[Any]:
    with file(rows, form, folder).open() as lines:
        return list(csv.DictReader(lines)) if form == "csv" else list(map(json.loads, lines))


def test_duckdb_reads_it_as_a_table(tmp_path: Path) -> None:
    app, topology = topology_of("columns")
    [declared] = stored(topology)
    with filled(app) as driver:
        write_state(driver, tmp_path / "test" / "worker-0")
        source = found_in(tmp_path / "test", "test")
        assert source is not None
        path = file(list(dump(source, declared)), "parquet", tmp_path)
        rows = dict(driver.store(declared.name).items())
    found = duckdb.sql(f"select key, value_n, value_total, value_top[1] from '{path}' order by key").fetchall()  # pyright: ignore[reportOptionalMemberAccess]
    assert found == [(key, row["n"], row["total"], row["top"][0]) for key, row in sorted(rows.items())]


class Tables:
    """A program with several tasks, and its state in all places that it can be read from."""

    def __init__(self, folder: Path) -> None:
        self.app = tm.App("test")
        totals = self.app.stream("a", key=tm.utf8, value=tm.json).group_by_key().count().named("totals")
        totals.to("out", key=tm.utf8, value=tm.json)
        self.folder = folder
        self.declared = declared_store(self.app.topology(), "totals")
        with filled(self.app, partitions=3) as driver:
            self.expected = dict(driver.store("totals").items())
            write_state(driver, folder / "test" / "worker-0", offset=5)
            self.bucket = Bucket()
            take_snapshots(driver, folder / "test" / "worker-0", self.bucket)
        with filled(self.app, partitions=3, rounds=8) as driver:
            write_state(driver, folder / "test" / "worker-1", offset=3)

    def read(self, source: Any) -> dict[str, int]:
        rows = list(dump(source, self.declared))
        assert len(rows) == len({row.row.key for row in rows})
        return {row.row.key: row.row.value for row in rows}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    return Tables(tmp_path)


def test_all_tasks_are_merged_and_of_two_copies_the_furthest_is_read(tables: Tables) -> None:
    for place in (tables.folder, tables.folder / "test"):
        assert tables.read(found_in(place, "test")) == tables.expected
    older = tables.read(found_in(tables.folder / "test" / "worker-1", "test"))
    assert older.keys() == tables.expected.keys()
    assert sum(older.values()) == 8
    tasks = sorted((tables.folder / "test" / "worker-0" / "tasks").iterdir())
    parts = [tables.read(found_in(task, "test")) for task in tasks]
    assert {key: value for part in parts for key, value in part.items()} == tables.expected
    assert len(parts) == 3


def test_a_directory_that_cannot_be_written_is_read(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in tables.folder.rglob("*")}
    monkeypatch.setattr("os.access", lambda path, mode: False)
    assert tables.read(found_in(tables.folder, "test")) == tables.expected
    assert {path: path.stat().st_mtime_ns for path in tables.folder.rglob("*")} == before
    (tables.folder / "test" / "worker-0" / "lock").unlink()
    assert tables.read(found_in(tables.folder, "test")) == tables.expected


@pytest.mark.parametrize("writable", [True, False])
def test_a_directory_in_use_is_refused(tables: Tables, monkeypatch: pytest.MonkeyPatch, writable: bool) -> None:
    if not writable:
        monkeypatch.setattr("os.access", lambda path, mode: False)
    worker = tables.folder / "test" / "worker-1"
    task = next((worker / "tasks").iterdir())
    with StateDirectory(worker, "test"):
        for place in (tables.folder, task):
            with pytest.raises(InUse):
                tables.read(found_in(place, "test"))


def test_snapshots_are_read(tables: Tables) -> None:
    source = SnapshotState(tables.bucket, "test")
    assert tables.read(source) == tables.expected
    assert [row.row.value for row in lookup(source, tables.declared, "k")] == [tables.expected["k"]]


def test_a_damaged_snapshot_is_refused(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemill.engine.snapshots.taking.INLINE_BYTES", 0)
    bucket = Bucket()
    with filled(tables.app, partitions=3) as driver:
        take_snapshots(driver, tables.folder / "test" / "worker-0", bucket)
    assert tables.read(SnapshotState(bucket, "test")) == tables.expected
    for path, content in bucket.content.items():
        if "/files/" in path:
            bucket.content[path] = content[:-1] + b"?"
    with pytest.raises(StorageError, match="damaged"):
        tables.read(SnapshotState(bucket, "test"))


def test_the_newest_snapshot_that_can_be_read_is_taken(tables: Tables) -> None:
    path = next(path for path in tables.bucket.content if path.endswith("manifests/000000000001.json"))
    tables.bucket.content[path.replace("1.json", "2.json")] = b"{"
    assert tables.read(SnapshotState(tables.bucket, "test")) == tables.expected


def test_for_an_application_without_snapshots_the_others_are_named(tables: Tables) -> None:
    with pytest.raises(ConfigError, match="has no snapshots of 'other'; it has some of test: name the"):
        tables.read(SnapshotState(tables.bucket, "other"))


def test_places(tables: Tables, tmp_path: Path) -> None:
    def settings(**more: Any) -> Settings:
        return Settings(app_id="test", state_dir=tables.folder, **more)

    shutil.copytree(tables.folder / "test", tmp_path / "copy")
    assert tables.read(source_at(None, settings())) == tables.expected
    assert tables.read(source_at(str(tmp_path / "copy"), settings())) == tables.expected
    for path, content in tables.bucket.content.items():
        (tmp_path / "kept" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kept" / path).write_bytes(content)
    url = f"file://{tmp_path / 'kept'}"
    for place, known in ((url, None), (str(tmp_path / "kept"), None), ("snapshots", url)):
        assert tables.read(source_at(place, settings(snapshots=known))) == tables.expected
    with pytest.raises(ConfigError, match="has no setting snapshots"):
        source_at("snapshots", settings())
    with pytest.raises(ConfigError, match="there is no such directory"):
        source_at("gone", settings())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="the directory has no state of 'test'"):
        source_at(str(tmp_path / "empty"), settings())
    with pytest.raises(ConfigError, match="read its snapshots with --from snapshots"):
        source_at(None, Settings(app_id="other", state_dir=tables.folder, snapshots=url))


def test_tasks_of_other_versions_are_left_out(tables: Tables) -> None:
    assert tasks_of(tables.declared, ["2_10", "0_10", "0_2"], "x") == ["0_2", "0_10"]
    assert tasks_of(tables.declared, ["2_1"], "x") == ["2_1"]
    with pytest.raises(ConfigError, match="in tasks of the sub-topologies 1 and 2, while the program has it in sub"):
        tasks_of(tables.declared, ["2_1", "1_1"], "x")


def test_the_furthest_copy() -> None:
    behind, ahead = Position({"s": 3}, {"t:0": 9}), Position({"s": 4}, {"t:0": 1})
    assert furthest(["s"], {"worker-0": behind, "worker-1": ahead}) == "worker-1"
    assert furthest(["s"], {"worker-1": ahead, "worker-0": ahead}) == "worker-0"
    assert furthest(["s"], {"worker-0": Position(), "worker-1": Position({}, {"t:0": 1})}) == "worker-1"


def test_rows_are_in_memory_a_bounded_number_of_bytes_at_a_time(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = list(dump(source_at(str(tables.folder), Settings(app_id="test")), tables.declared))
    monkeypatch.setattr(entries, "BATCH_BYTES", rows[0].size * 2)
    assert [len(batch) for batch in batches(rows)] == [2, 2]
    monkeypatch.setattr(entries, "BATCH_ROWS", 1)
    assert [len(batch) for batch in batches(rows)] == [1, 1, 1, 1]


def test_the_format_is_that_of_the_file_unless_it_is_given() -> None:
    assert format_of(Path("totals.parquet"), None) == "parquet"
    assert format_of(Path("totals.parquet"), "csv") == "csv"
    assert format_of(Path("totals.txt"), None) == format_of(None, None) == "jsonl"


def test_nothing_is_left_of_a_dump_that_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing("parquet", tmp_path / "x.parquet"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="standard output"), writing("parquet", None):
        pass
    with pytest.raises(ConfigError, match="cannot be written"), writing("csv", tmp_path / "gone" / "x.csv"):
        pass
