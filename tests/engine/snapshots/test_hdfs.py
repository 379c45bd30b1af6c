"""Tests of snapshots in a real HDFS with killed data nodes, and with a name node in safe mode or unavailable."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests.object_stores.hdfs import Hdfs
from tests.object_stores.places import Places
from tests.support.maven import Unavailable
from tests.support.patience import PATIENCE
from tidemill.engine.snapshots import fsspec_storage
from tidemill.engine.snapshots.fsspec_storage import FsspecStorage, opened
from tidemill.engine.snapshots.service import check
from tidemill.engine.snapshots.storage import StorageError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hdfs")]

BIG = bytes(range(256)) * 4 * 12 * 1024
"""12 blocks."""


@pytest.fixture
def cluster(places: Places) -> Hdfs:
    try:
        server = places.server("hdfs")
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    assert isinstance(server, Hdfs)
    server.start_data_nodes()
    return server


@pytest.fixture
def storage(cluster: Hdfs, tmp_path: Path) -> FsspecStorage:
    return opened(f"{cluster.url}/{tmp_path.name}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(BIG)
    return path


class KillsDataNode:
    """Called with the transferred bytes; kills a data node after some of them."""

    def __init__(self, cluster: Hdfs, number: int, after: int) -> None:
        self._cluster, self._number, self._left = cluster, number, after

    def __call__(self, size: int) -> None:
        before, self._left = self._left, self._left - size
        if before > 0 >= self._left:
            self._cluster.kill_data_node(self._number)


def nothing(_size: int) -> None:
    pass


def test_a_data_node_that_dies_in_the_middle_of_an_upload_costs_no_byte(
    cluster: Hdfs, storage: FsspecStorage, source: Path, tmp_path: Path
) -> None:
    """The client detects this only with its next heartbeat, after 30 s."""
    storage.put(source, "app/files/one", KillsDataNode(cluster, 1, after=len(BIG) // 3))
    assert storage.list("app") == {"app/files/one": len(BIG)}
    storage.get("app/files/one", tmp_path / "copy", nothing)
    assert (tmp_path / "copy").read_bytes() == BIG
    assert storage.put_new("app/manifests/1.json", b"first")


def test_a_data_node_that_dies_in_the_middle_of_a_download_costs_no_byte(
    cluster: Hdfs, storage: FsspecStorage, source: Path, tmp_path: Path
) -> None:
    storage.put(source, "app/files/one", nothing)
    arrived: list[int] = []
    kills = KillsDataNode(cluster, 1, after=len(BIG) // 3)

    def passed(size: int) -> None:
        arrived.append(size)
        kills(size)

    storage.get("app/files/one", tmp_path / "copy", passed)
    assert (tmp_path / "copy").read_bytes() == BIG
    assert sum(arrived) == len(BIG)


def test_a_name_node_that_is_away_and_comes_back_in_safe_mode(
    cluster: Hdfs,
    storage: FsspecStorage,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One restart for all that it goes through, since each takes seconds."""
    storage.put(source, "app/files/one", nothing)  # without two blocks that are missing there is no safe mode
    storage.put_new("app/manifests/1.json", b"first")
    cluster.kill_data_nodes()
    cluster.stop_name_node()

    with monkeypatch.context() as patch:
        patch.setattr(fsspec_storage, "ATTEMPTS", 1)
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"app/x cannot be read: .*refused") as failure:
            storage.read("app/x")
    assert not failure.value.lasting
    assert time.monotonic() - began < 20 * PATIENCE, "the client's own patience is 3 minutes"

    cluster.start_name_node()
    assert cluster.safe_mode
    with monkeypatch.context() as patch:
        patch.setattr(fsspec_storage, "STARTING_SECONDS", 1)
        check(storage, "app")
    yet, given_up = [record.getMessage() for record in caplog.records]
    assert "cannot be written yet: Cannot create" in yet
    assert "Name node is in safe mode." in yet
    assert "\n" not in yet
    assert "going on without it for now" in given_up

    caplog.clear()
    coming = threading.Timer(1.0, cluster.start_data_nodes)
    coming.start()
    try:
        check(storage, "app")
        assert not cluster.safe_mode
        assert storage.read("app/manifests/1.json") == b"first"
    finally:
        coming.join()
    [said] = [record.getMessage() for record in caplog.records]
    assert "cannot be written yet" in said
