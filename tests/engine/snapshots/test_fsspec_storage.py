"""Tests of the fsspec snapshot storage: a directory, and servers with the APIs of S3, GCS, Azure and HDFS.

All of them give the same guarantees.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fsspec
import pytest

from tests.object_stores.places import Places
from tests.support.maven import Unavailable
from tidemill.engine.errors import ConfigError
from tidemill.engine.snapshots.fsspec_storage import FsspecStorage, opened
from tidemill.engine.snapshots.service import check
from tidemill.engine.snapshots.storage import Missing, Stopped, StorageError

pytestmark = pytest.mark.filterwarnings(
    "ignore:Sending a large body directly:ResourceWarning"
)  # what gcsfs and adlfs do

BIG = bytes(range(256)) * 20_000  # more than one piece


def at(places: Places, kind: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> FsspecStorage:
    """By the environment, as users say where the server is."""
    try:
        place = places.at(kind, folder)
    except Unavailable as reason:
        pytest.skip(f"left out: {reason}")
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    return opened(place.url)


def on(*schemes: str) -> list[Any]:
    """Stores with a server, one of which serves all tests."""
    return [pytest.param(one, marks=[pytest.mark.slow, pytest.mark.xdist_group(one)]) for one in schemes]


@pytest.fixture(params=["file", *on("s3", "gs", "abfs", "hdfs")])
def storage(
    request: pytest.FixtureRequest, tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> FsspecStorage:
    if request.param == "file":
        return opened(f"file://{tmp_path}/store")
    return at(places, request.param, tmp_path.name, monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(BIG)
    return path


def nothing(_size: int) -> None:
    pass


def test_a_file_comes_back(storage: FsspecStorage, source: Path, tmp_path: Path):
    sent: list[int] = []
    storage.put(source, "app/files/x/one", sent.append)
    assert sum(sent) == len(BIG)
    arrived: list[int] = []
    storage.get("app/files/x/one", tmp_path / "copy", arrived.append)
    assert (tmp_path / "copy").read_bytes() == BIG
    assert sum(arrived) == len(BIG)
    assert storage.list("app") == {"app/files/x/one": len(BIG)}
    storage.delete(["app/files/x/one", "app/files/x/never"])
    assert storage.list("app") == {}


def test_a_small_file_is_written_once(storage: FsspecStorage):
    assert storage.put_new("app/manifests/1.json", b"first")
    assert not storage.put_new("app/manifests/1.json", b"second")
    assert storage.put_new("app/manifests/1.json", b"first"), "the answer to an earlier try may have been lost"
    assert storage.read("app/manifests/1.json") == b"first"
    assert list(storage.list("app")) == ["app/manifests/1.json"]


def test_what_is_not_there_is_missing(storage: FsspecStorage, tmp_path: Path):
    with pytest.raises(Missing):
        storage.read("app/none")
    with pytest.raises(Missing):
        storage.get("app/none", tmp_path / "copy", nothing)
    assert storage.list("nowhere") == {}


def test_what_is_not_wanted_any_more_ends_at_once(storage: FsspecStorage, source: Path):
    def stop(_size: int) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        storage.put(source, "app/files/x/one", stop)


def test_the_check_at_the_start_leaves_nothing(storage: FsspecStorage):
    check(storage, "app")
    assert storage.list("app") == {}


@pytest.mark.parametrize("scheme", on("s3", "gs", "abfs"))
def test_a_bucket_that_does_not_exist_is_named_at_the_start(
    scheme: str, places: Places, monkeypatch: pytest.MonkeyPatch
):
    there = at(places, scheme, "x", monkeypatch)
    none = there.url.replace("bucket", "nobucket").replace("container@", "nocontainer@")
    with pytest.raises(ConfigError, match=r"no(bucket|container).*that the directory or bucket exists"):
        check(opened(none), "app")


def test_a_directory_without_rights_is_named_at_the_start(tmp_path: Path):
    (tmp_path / "store").write_text("a file in its place")
    with pytest.raises(ConfigError, match="store"):
        check(opened(f"file://{tmp_path}/store"), "app")


class Faulty:
    """A file system of fsspec whose first calls of a kind fail, or deliver or keep only a part."""

    def __init__(self, inner: Any, doing: str, fails: int, *, truncates: bool = False) -> None:
        self._inner, self._doing, self.left, self._truncates = inner, doing, fails, truncates

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._doing:
            return found

        def call(*args: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                return found(*args, **named)
            if self._truncates:
                return {**found(*args, **named), "size": 1}
            raise OSError("500 internal error")

        return call


def faulty(tmp_path: Path, doing: str, fails: int, *, truncates: bool = False) -> FsspecStorage:
    files = Faulty(fsspec.filesystem("file"), doing, fails, truncates=truncates)
    return FsspecStorage(f"file://{tmp_path}/store", files, f"{tmp_path}/store", wait_seconds=0.001)


@pytest.mark.parametrize("doing", ["open", "info", "makedirs"])
def test_an_upload_is_retried(doing: str, tmp_path: Path, source: Path):
    storage = faulty(tmp_path, doing, 2)
    storage.put(source, "app/one", nothing)
    assert storage.read("app/one") == BIG


def test_a_partial_upload_is_not_considered_complete(tmp_path: Path, source: Path):
    faulty(tmp_path, "info", 2, truncates=True).put(source, "app/one", nothing)
    with pytest.raises(StorageError, match="1 bytes of 5,120,000 have arrived"):
        faulty(tmp_path, "info", 99, truncates=True).put(source, "app/one", nothing)


def test_a_storage_that_stays_unavailable_is_named(tmp_path: Path, source: Path):
    storage = faulty(tmp_path, "open", 99)
    with pytest.raises(StorageError, match="app/one cannot be written: 500 internal error") as failure:
        storage.put(source, "app/one", nothing)
    assert not failure.value.lasting


def test_a_storage_that_is_unavailable_at_the_start_does_not_stop_the_application(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    check(faulty(tmp_path, "open", 99), "app")
    assert "going on without it for now" in caplog.text
