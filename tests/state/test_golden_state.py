"""Tests that state of every earlier format can be read; a new format needs an archive (`make golden-state`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import Any

import pytest

import tidemill as tm
from tests.support import golden_state
from tests.support.bucket import Bucket
from tests.support.golden_state import APP, archives, contents, filled, found, program, rows_of, stores_of, unpacked
from tidemill.engine.offline.entries import dump
from tidemill.engine.offline.snapshots import SnapshotState, newest_manifests
from tidemill.engine.tasks.store_schemas import check_shapes
from tidemill.operators.graph.topology import Topology
from tidemill.state.directory import StateDirectory
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import VERSION, Change, Position

pytestmark = pytest.mark.xdist_group("golden state")


@pytest.fixture(scope="module")
def app() -> tm.App:
    return program()


@pytest.fixture(scope="module")
def topology(app: tm.App) -> Topology:
    return app.topology()


@pytest.fixture(scope="module")
def now(app: tm.App) -> Iterator[dict[str, Any]]:
    with filled(app) as driver:
        yield contents(app, driver)


@pytest.fixture(params=archives(), ids=lambda path: path.name)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    return tmp_path, unpacked(request.param, tmp_path)


def test_there_is_state_of_every_store_in_an_archive(topology: Topology, now: dict[str, Any]) -> None:
    newest = archives()[-1]
    names = {declared.name for declared in stores_of(topology) if declared.subtopology is not None}
    kinds = {key.partition("/")[2] for key, text in now["entries"].items() if text}
    assert kinds | set(golden_state.OPAQUE) == names
    assert newest.stat().st_size < 64_000


def test_the_present_format_is_that_of_the_newest_archive(now: dict[str, Any], tmp_path: Path) -> None:
    known = unpacked(archives()[-1], tmp_path)
    for name, content in now.items():
        assert known[name] == content, (
            f"the format of {name} has changed: keep reading the old one, and run `make golden-state`, which adds an "
            "archive of the new one"
        )


@pytest.mark.slow
def test_the_rows_of_every_store_are_read(archive: tuple[Path, dict[str, Any]], topology: Topology) -> None:
    place, known = archive
    for declared in stores_of(topology):
        if declared.name in known["rows"]:
            assert rows_of(found(place), declared) == known["rows"][declared.name], declared.name
    assert len(known["rows"]) > 40


def test_the_stores_are_opened_and_written(archive: tuple[Path, dict[str, Any]]) -> None:
    place, _ = archive
    with StateDirectory(place / "state" / APP / "worker-0", APP) as directory:
        assert directory.tasks()
        assert directory.tables() == ["world"]
        memory = RocksMemory(8 << 20)
        for task in directory.tasks():
            store = RocksStore(directory.task(task), APP, task, memory)
            before = store.position()
            name = min(before.changelogs)
            assert before.topic_ids == dict.fromkeys(before.changelogs, "topic-id")
            store.apply([Change(name, b"new", VERSION + b"value")], Position({name: 99}))
            assert store.get(name, b"new") == VERSION + b"value"
            store.close()


def test_the_snapshot_is_read(archive: tuple[Path, dict[str, Any]], topology: Topology) -> None:
    place, known = archive
    bucket = Bucket()
    root = place / "snapshots"
    for path in root.rglob("*.json"):
        bucket.content[str(path.relative_to(root))] = path.read_bytes()
    [(task, manifest)] = newest_manifests(bucket, APP).items()
    assert manifest.stores
    for declared in stores_of(topology):
        if declared.name in manifest.stores:
            rows = [row.row.key for row in dump(SnapshotState(bucket, APP), declared)]
            assert len(rows) == len([row for row in known["rows"][declared.name] if row["task"] == task])


def test_the_metadata_of_offsets_is_accepted(archive: tuple[Path, dict[str, Any]], topology: Topology) -> None:
    _, known = archive
    states = [state for node in topology.nodes for state in node.stores]
    check_shapes("0_0", states, known["metadata"])


def test_a_change_of_a_format_is_detected(app: tm.App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = unpacked(archives()[-1], tmp_path)
    monkeypatch.setattr("tidemill.operators.stores.expiring._UNTIL", Struct(">qx"))
    with filled(app) as driver:
        changed = contents(app, driver)["entries"]
    assert {key.partition("/")[2] for key, text in changed.items() if known["entries"][key] != text} >= {
        "keeping-brief",
        "deduplicate",
    }
