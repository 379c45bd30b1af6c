"""Tests of checkpoints of an open RocksDB: hard links, complete and consistent, while another thread writes."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tidemill.state.linked_files import link_files
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position, StateError

MEMORY = 8 << 20
KEYS = 2_000


def opened(path: Path) -> RocksStore:
    return RocksStore(path, "app", "0_0", RocksMemory(MEMORY))


def write(store: RocksStore, at: int) -> None:
    """Write every key in one commit."""
    noise = os.urandom(300)
    rows = [Change("totals", b"%06d" % key, b"\x01%08d" % at + noise) for key in range(KEYS)]
    store.apply(rows, Position({"totals": at}))


def test_it_has_everything_that_was_applied(tmp_path: Path):
    store = opened(tmp_path / "store")
    store.apply([Change("totals", b"a", b"\x01one"), Change("totals", b"b", b"\x01two")], Position({"totals": 7}))
    assert store.checkpoint(tmp_path / "copy") == Position({"totals": 7})
    store.apply([Change("totals", b"a", None)], Position({"totals": 8}))
    store.close()

    copy = opened(tmp_path / "copy")
    assert list(copy.scan("totals", b"", None)) == [(b"a", b"\x01one"), (b"b", b"\x01two")]
    assert copy.position() == Position({"totals": 7})
    copy.close()


def test_table_files_are_links_and_nothing_else_is(tmp_path: Path):
    store = opened(tmp_path / "store")
    write(store, 1)
    store.checkpoint(tmp_path / "copy")
    tables = [path for path in (tmp_path / "copy").iterdir() if path.suffix == ".sst"]
    assert tables
    for path in (tmp_path / "copy").iterdir():
        assert (path.stat().st_nlink > 1) == (path in tables), path.name
        assert not path.name.startswith(("LOCK", "LOG"))
        assert path.suffix != ".log"
    store.close()


def test_an_empty_store_can_be_copied(tmp_path: Path):
    store = opened(tmp_path / "store")
    assert store.checkpoint(tmp_path / "copy") == Position()
    store.close()
    opened(tmp_path / "copy").close()


def test_a_copy_replaces_what_an_earlier_try_has_left(tmp_path: Path):
    store = opened(tmp_path / "store")
    write(store, 1)
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "000099.sst").write_bytes(b"left over")
    store.checkpoint(tmp_path / "copy")
    store.close()
    assert not (tmp_path / "copy" / "000099.sst").exists()


def test_a_closed_store_cannot_be_copied(tmp_path: Path):
    store = opened(tmp_path / "store")
    store.close()
    with pytest.raises(StateError, match="was closed"):
        store.checkpoint(tmp_path / "copy")


def test_a_missing_file_is_detected_and_the_copy_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = opened(tmp_path / "store")
    write(store, 1)
    tries: list[Path] = []

    def first_incomplete(source: Path, into: Path) -> None:
        link_files(source, into)
        tries.append(into)
        if len(tries) == 1:
            next(into.glob("*.sst")).unlink()

    monkeypatch.setattr("tidemill.state.rocks.link_files", first_incomplete)
    assert store.checkpoint(tmp_path / "copy") == Position({"totals": 1})
    assert len(tries) == 2
    store.close()
    copy = opened(tmp_path / "copy")
    assert sum(1 for _ in copy.scan("totals", b"", None)) == KEYS
    copy.close()


@pytest.mark.slow
def test_copies_made_while_the_task_writes_and_rocksdb_compacts_are_of_one_commit(tmp_path: Path):
    """Each commit writes the same number under every key: a copy that mixes two commits shows two numbers."""
    store = opened(tmp_path / "store")
    stop = threading.Event()
    failures: list[BaseException] = []
    made: list[tuple[Path, Position]] = []

    def copy() -> None:
        try:
            while not stop.is_set():
                path = tmp_path / f"copy-{len(made)}"
                made.append((path, store.checkpoint(path)))
        except BaseException as failure:
            failures.append(failure)

    write(store, 1)
    thread = threading.Thread(target=copy)
    thread.start()
    for at in range(2, 150):
        write(store, at)
    stop.set()
    thread.join()
    store.close()
    assert not failures
    assert len(made) > 3
    for path, position in made[:: max(1, len(made) // 10)]:
        found = opened(path)
        values = {value[1:9] for _, value in found.scan("totals", b"", None)}
        assert found.position() == position
        assert values == {b"%08d" % position.changelogs["totals"]}
        found.close()
