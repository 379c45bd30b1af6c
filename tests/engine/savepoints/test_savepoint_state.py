"""Tests of reading stores from savepoints, and from the snapshots that committed offsets name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import tidemill as tm
from tests.support.bucket import Bucket
from tests.support.savepoints import saved
from tests.support.state_dirs import take_snapshots, write_state
from tidemill.engine.config.settings import Settings
from tidemill.engine.errors import ConfigError
from tidemill.engine.offline.entries import StateSource, dump
from tidemill.engine.offline.local import LocalState
from tidemill.engine.offline.parts import declared_store
from tidemill.engine.offline.snapshots import SnapshotState
from tidemill.engine.plan.store_changes import compare, facts_of
from tidemill.engine.savepoints import savepoint_state
from tidemill.engine.savepoints.savepoint_state import SavepointState, facts_at, state_at
from tidemill.engine.snapshots.manifest import decode
from tidemill.engine.snapshots.storage import StorageError
from tidemill.engine.tasks.snapshot_marks import SnapshotMark
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Position


def program() -> tm.App:
    app = tm.App("test")
    a = app.stream("a", key=tm.utf8, value=tm.json)
    a.group_by_key().count().named("totals")
    a.group_by_key().reduce(lambda one, other: other).in_memory().named("newest")
    a.group_by(lambda value: str(value % 3), key=tm.utf8).count().named("thirds")
    return app


def fill(driver: tm.testing.TopologyDriver, count: int = 30) -> None:
    for number in range(count):
        driver.send("a", key=f"k{number % 7}", value=number, timestamp=10 + number)


def rows(source: StateSource, app: tm.App, store: str) -> dict[Any, Any]:
    found = list(dump(source, declared_store(app.topology(), store)))
    assert len(found) == len({row.row.key for row in found})
    return {row.row.key: row.row.value for row in found}


@pytest.fixture
def bucket() -> Bucket:
    return Bucket()


def test_all_stores_of_a_savepoint_are_read(tmp_path: Path, bucket: Bucket) -> None:
    app = program()
    with tm.testing.TopologyDriver(app, partitions=3) as driver:
        fill(driver)
        source = SavepointState(bucket, saved(driver, tmp_path / "worker-0", bucket))
        fill(driver)
        for store in ("totals", "newest", "thirds"):
            now = dict(driver.store(store).items())
            then = rows(source, app, store)
            assert then.keys() == now.keys()
            assert (then != now) == (store != "newest")
    assert sum(rows(source, app, "thirds").values()) == 30


def test_a_store_in_memory_is_in_no_other_place(tmp_path: Path, bucket: Bucket) -> None:
    app = program()
    for source in (SnapshotState(bucket, "test"), LocalState(tmp_path, "test", [])):
        with pytest.raises(ConfigError, match="the store 'newest' is in memory only: there is nothing of it on disk"):
            rows(source, app, "newest")


def test_a_savepoint_is_found_by_its_name(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    app = program()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(savepoint_state, "storage_at", lambda url: bucket)
    with tm.testing.TopologyDriver(app) as driver:
        fill(driver)
        saved(driver, tmp_path / "worker-0", bucket, "kept")
    settings = Settings(app_id="test", snapshots="memory://bucket", state_dir=tmp_path)
    assert sum(rows(state_at("kept", settings), app, "totals").values()) == 30
    with pytest.raises(ConfigError, match="or the name of a savepoint"):
        state_at("other", settings)
    with pytest.raises(ConfigError, match="or the name of a savepoint"):
        state_at("kept", Settings(app_id="test", state_dir=tmp_path))
    other = tm.App("test")
    other.stream("a", key=tm.utf8, value=tm.json).group_by_key().count().named("sums", was="totals")
    changes = {
        (one.what, one.status, one.name) for one in compare(facts_at("kept", settings), facts_of(other.topology()))
    }
    assert changes == {
        ("store", "renamed", "sums"),
        ("store", "dropped", "newest"),
        ("store", "dropped", "thirds"),
        ("repartition", "dropped", "thirds"),
    }


def committing(driver: tm.testing.TopologyDriver, folder: Path, bucket: Bucket, commit: str) -> None:
    """Store snapshots of all tasks for a commit."""
    write_state(driver, folder)
    for path in (folder / "tasks").iterdir():
        store = RocksStore(path, "test", path.name, RocksMemory(8 << 20))
        store.apply([], Position(commit=commit))
        store.close()
    take_snapshots(driver, folder, bucket)


def test_of_snapshots_without_changelogs_the_committed_one_is_read(tmp_path: Path, bucket: Bucket) -> None:
    app = tm.App("test")
    app.stream("a", key=tm.utf8, value=tm.json).group_by_key().count().named("totals")
    with tm.testing.TopologyDriver(app, partitions=2) as driver:
        fill(driver)
        committing(driver, tmp_path / "worker-0", bucket, "p.1-1")
        then = dict(driver.store("totals").items())
        fill(driver)
        committing(driver, tmp_path / "worker-0", bucket, "p.1-2")
        now = dict(driver.store("totals").items())
    commits = {path: decode(bucket.content[path]).position.commit for path in bucket.manifests()}
    assert sorted(commits.values()) == ["p.1-1"] * 2 + ["p.1-2"] * 2

    def source(*marks: SnapshotMark) -> SnapshotState:
        offsets = {("a", number): (9, f"t=5{mark.metadata}") for number, mark in enumerate(marks)}
        return SnapshotState(bucket, "test", committed=lambda: offsets)

    first = [SnapshotMark(f"0_{number}", 2, 1, "p.1-1") for number in range(2)]
    second = [SnapshotMark(f"0_{number}", 2, 2, "p.1-2") for number in range(2)]
    assert rows(source(*first), app, "totals") == then
    assert rows(source(*second), app, "totals") == now
    for marks in ([*first, second[0]], [second[0], first[1]]):
        mixed = rows(source(*marks), app, "totals")
        assert mixed not in (then, now)
        assert all(value in (then[key], now[key]) for key, value in mixed.items())
    alone = rows(source(first[0], SnapshotMark("0_1", 2)), app, "totals")
    assert alone.items() < then.items(), "a task that has committed no state has none"
    with pytest.raises(StorageError, match=r"snapshot 2 of commit p\.7-2, and the one in"):
        rows(source(SnapshotMark("0_0", 2, 2, "p.7-2")), app, "totals")
    with pytest.raises(StorageError, match="the committed offsets name snapshot 5"):
        rows(source(SnapshotMark("0_0", 2, 5, "p.1-5")), app, "totals")
    with pytest.raises(ConfigError, match="which of them are committed"):
        rows(SnapshotState(bucket, "test"), app, "totals")
