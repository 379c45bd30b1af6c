"""What only RocksDB can do wrong: crashes, memory, and directories that are not what they should be."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tidemill.state.rocks import FORMAT, RocksMemory, RocksStore
from tidemill.state.store import Change, Corrupt, InUse, NewerFormat, Position, StateError, Unusable, WrongOwner

FAST_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
MEMORY = RocksMemory(16 << 20)
ROWS = [Change("sums", b"key-%04d" % i, random.Random(i).randbytes(100)) for i in range(1000)]
AT = Position({"sums": 7}, {"views:0": 9})


@pytest.fixture
def fast_path():
    path = Path(tempfile.mkdtemp(prefix="tidemill-test-", dir=FAST_DISK))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def path(fast_path):
    return fast_path / "tasks" / "0_1"


def open_store(path, app_id="app", task="0_1"):
    return RocksStore(path, app_id, task, MEMORY)


def filled(path):
    """A closed store with some content."""
    store = open_store(path)
    store.apply(ROWS, AT)
    store.close()
    return path


def test_a_writer_killed_in_mid_write_leaves_data_and_position_of_one_commit(fast_path):
    seed = random.randrange(1 << 30)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_writer.py"), fast_path, "30", str(seed)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    found = json.loads(done.stdout)
    assert len(found) == 30
    assert found == sorted(found)  # a crash takes nothing back that an earlier one had left
    assert len(set(found)) > 10  # and there were flushes, so that something could have gone wrong


def test_content_and_position_survive_a_clean_end(path):
    filled(path)
    store = open_store(path)
    assert list(store.scan("sums", b"", None)) == [(change.key, change.value) for change in ROWS]
    assert store.position() == AT
    store.close()


def test_nothing_is_written_to_a_log(path):
    store = open_store(path)
    store.apply(ROWS, AT)
    assert [log.stat().st_size for log in path.glob("*.log")] in ([], [0])
    store.close()


def test_names_keep_their_numbers_and_numbers_are_not_given_twice(path):
    store = open_store(path)
    store.apply([Change("b", b"k", b"1")], AT)
    store.apply([Change("a", b"k", b"2"), Change("c", b"k", b"3")], AT)
    store.clear("c")
    store.close()
    store = open_store(path)
    store.apply([Change("d", b"k", b"4")], AT)
    assert [store.get(name, b"k") for name in "abcd"] == [b"2", b"1", None, b"4"]
    assert list(store.scan("c", b"", None)) == []
    store.close()


def test_closing_ends_scans_and_a_second_time_does_nothing(path):
    filled(path)
    store = open_store(path)
    scan = store.scan("sums", b"", None)
    next(scan)
    store.close()
    store.close()
    assert list(scan) == []
    for use in (
        lambda: store.get("sums", b"a"),
        lambda: store.get_many("sums", [b"a"]),
        lambda: store.scan("sums", b"", None),
        lambda: store.apply(ROWS, AT),
        lambda: store.clear("sums"),
        store.flush,
        store.size,
    ):
        with pytest.raises(StateError, match="it was closed"):
            use()
    open_store(path).close()


def test_stores_share_one_budget_of_memory(fast_path):
    memory = RocksMemory(8 << 20)
    stores = [RocksStore(fast_path / str(i), "app", f"0_{i}", memory) for i in range(4)]
    most = 0
    for start in range(0, 25_000, 500):
        for store in stores:
            store.apply([Change("sums", b"%06d" % i, b"x" * 200) for i in range(start, start + 500)], Position())
            most = max(most, memory.used)
    for store in stores:
        assert sum(1 for _ in store.scan("sums", b"", None)) == 25_000
        most = max(most, memory.used)
        store.close()
    assert 1 << 20 < most < memory.total * 1.25


def test_another_application_or_task_is_refused(path):
    filled(path)
    with pytest.raises(WrongOwner, match="the state of task 0_1 of application 'app', not of task 0_1 of 'other'"):
        open_store(path, "other")
    with pytest.raises(WrongOwner, match="not of task 0_2 of 'app'"):
        open_store(path, task="0_2")
    open_store(path).close()


def put_meta(path, key, value):
    """Writes into the part of the database that stores cannot reach."""
    store = open_store(path)
    store._prefixes["meta"] = b"\x00\x00"
    store.apply([Change("meta", key, value)], Position())
    store.close()


def test_a_newer_format_is_refused(path):
    put_meta(filled(path), b"about", b'{"format":%d,"application":"app","task":"0_1"}' % (FORMAT + 1))
    with pytest.raises(NewerFormat, match=f"has format {FORMAT + 1}, this Tidemill knows formats up to {FORMAT}"):
        open_store(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"about", b"{"), (b"about", b"{}"), (b"about", None), (b"stores", b"[]"), (b"stores", b'{"a":70000}')],
)
def test_illegible_meta_is_corrupt(path, key, value):
    put_meta(filled(path), key, value)
    for _ in range(2):
        with pytest.raises(Corrupt, match=str(path)):
            open_store(path)


def newest_table(path):
    return max(path.glob("*.sst"))


def truncate_table(path):
    table = newest_table(path)
    table.write_bytes(table.read_bytes()[:50])


def remove_table(path):
    newest_table(path).unlink()


def spoil_manifest(path):
    (path / "CURRENT").write_text("garbage")


def lose_manifest(path):
    for manifest in path.glob("MANIFEST-*"):
        manifest.unlink()


@pytest.mark.parametrize("damage", [truncate_table, remove_table, spoil_manifest, lose_manifest])
def test_a_damaged_database_is_corrupt(path, damage):
    filled(path)
    damage(path)
    with pytest.raises(Corrupt, match=str(path)):
        open_store(path)


def test_damage_inside_a_table_is_found_when_it_is_read(path):
    filled(path)
    table = newest_table(path)
    content = bytearray(table.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    table.write_bytes(content)
    store = open_store(path)
    with pytest.raises(Corrupt, match="cannot be read"):
        list(store.scan("sums", b"", None))
    with pytest.raises(Corrupt, match="cannot be read"):
        store.get_many("sums", [change.key for change in ROWS])
    store.close()


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "tasks").write_text("x")
    with pytest.raises(Unusable, match="Not a directory") as refused:
        open_store(tmp_path / "tasks" / "0_1")
    assert refused.value.reason == "Not a directory"


def test_a_store_that_is_open_already_is_in_use(path):
    store = open_store(path)
    with pytest.raises(InUse):
        open_store(path)
    store.close()


def test_a_disk_that_takes_no_more_is_said_and_leaves_an_earlier_commit(path):
    """A limit on the size of files stands for the full disk."""
    program = f"""
        import resource, signal, sys
        from pathlib import Path
        from tidemill.state.rocks import RocksMemory, RocksStore
        from tidemill.state.store import Change, Position, Unusable
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        store = RocksStore(Path({str(path)!r}), "app", "0_1", RocksMemory(1 << 20))
        store.apply([Change("sums", b"key", b"1")], Position({{"sums": 1}}))
        store.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        import os
        try:
            for i in range(2, 100_000):
                store.apply([Change("sums", b"key", b"%d" % i), Change("sums", os.urandom(16), os.urandom(1000))],
                            Position({{"sums": i}}))
        except Unusable as refused:
            print("apply:", refused.reason)
        try:
            store.close()
        except Unusable as refused:
            print("close:", refused.reason)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, check=True
    )
    assert "apply: IO error" in done.stdout
    assert "File too large" in done.stdout
    store = open_store(path)
    assert store.get("sums", b"key") == b"%d" % store.position().changelogs["sums"]
    store.close()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        # as RocksDB says it
        (
            "IO error: No space left on device: While appending to file: /x/000020.sst: No space left on device",
            Unusable,
        ),
        ("IO error: While appending to file: /x/000008.sst: File too large", Unusable),
        ("Operation not permitted (os error 1)", Unusable),
        ("IO error: While lock file: {path}/LOCK: Resource temporarily unavailable", InUse),
        ("IO error: While open a file for random read: {path}/000007.sst: Too many open files", Unusable),
        ("IO error: While appending to file: /LOCKED/Corruption/000008.sst: File too large", Unusable),
        ("Corruption: block checksum mismatch: stored(context removed) = 222875789, computed = 1302998794", Corrupt),
        ("IO error: No such file or directory: While opening a file for sequentially reading: /x/MANIFEST-9", Corrupt),
        ("Invalid argument: rocksdict: does not match existing comparator leveldb.BytewiseComparator", Corrupt),
    ],
)
def test_what_rocksdb_says_becomes_an_error_by_what_to_do(path, monkeypatch, text, kind):
    def refuse(*_):
        raise Exception(text.format(path=path))  # rocksdict does this

    monkeypatch.setattr("tidemill.state.rocks.Rdict", refuse)
    with pytest.raises(kind, match=str(path)):
        open_store(path)
