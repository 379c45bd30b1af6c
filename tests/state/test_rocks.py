"""Tests of the RocksDB store: crashes, memory, and damaged or wrong directories."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.state.rocks import FORMAT, RocksMemory, RocksStore
from tidemill.state.store import Change, CorruptStore, InUse, NewerFormat, Position, StateError, Unusable, WrongOwner

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


@pytest.mark.slow
@pytest.mark.parametrize("loading", ["", "loading"])
def test_a_writer_that_is_killed_leaves_data_and_position_of_one_commit(fast_path, loading):
    seed = random.randrange(1 << 30)
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("killed_writer.py"), fast_path, "30", str(seed), loading],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    found = json.loads(done.stdout)
    assert len(found) == 30
    assert found == sorted(found)  # a crash loses nothing that survived an earlier one
    assert len(set(found)) > 10  # and there were flushes, so that something could have gone wrong


def test_a_writer_waits_for_rocksdb_without_stopping_the_other_threads(path):
    store = open_store(path)
    database = store._db
    database.set_options({"level0_file_num_compaction_trigger": "100", "level0_stop_writes_trigger": "1"})
    store.apply(ROWS, AT)
    store.flush()  # the file that is one too many
    later = Position({"sums": 8})
    writer = Thread(target=store.apply, args=([Change("sums", b"key", b"1")], later))
    writer.start()
    writer.join(0.3)
    assert writer.is_alive()
    assert store.position() == AT
    database.set_options({"level0_stop_writes_trigger": "36"})
    writer.join(20)
    assert store.position().changelogs == {"sums": 8}
    assert store.get("sums", b"key") == b"1"
    store.close()


def test_a_store_that_is_loading_is_the_same_store(path):
    store = open_store(path)
    store.set_loading(True)
    for first in range(0, len(ROWS), 100):
        store.apply(ROWS[first : first + 100], AT)
    store.apply([Change("sums", ROWS[0].key, None)], Position({"sums": 8}))
    assert store.get("sums", ROWS[0].key) is None
    assert store.get("sums", ROWS[1].key) == ROWS[1].value
    store.set_loading(False)
    assert list(store.scan("sums", b"", None)) == [(change.key, change.value) for change in ROWS[1:]]
    assert store.position().changelogs == {"sums": 8}
    store.close()


def test_content_and_position_survive_a_clean_end(path):
    filled(path)
    store = open_store(path)
    assert list(store.scan("sums", b"", None)) == [(change.key, change.value) for change in ROWS]
    assert store.position() == AT
    store.close()


@pytest.mark.slow
@examples(60)
@given(st.integers(0, 2**32), st.sampled_from(["flip", "truncate", "zero"]))
def test_damage_anywhere_is_named_or_harmless(seed, kind):
    """Whatever file is damaged, and where: the content is the same or that of an earlier commit, or it is refused."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=FAST_DISK) as directory:
        path = Path(directory) / "task"
        store = open_store(path)
        for first in range(0, len(ROWS), 250):
            store.apply(ROWS[first : first + 250], Position({"sums": first + 250}))
            store.flush()
        store.close()
        files = sorted(file for file in path.iterdir() if file.stat().st_size and file.name not in ("LOCK", "LOG"))
        damaged = chance.choice(files)
        content = bytearray(damaged.read_bytes())
        at = chance.randrange(len(content))
        if kind == "flip":
            content[at] ^= 1 << chance.randrange(8)
        elif kind == "truncate":
            del content[at:]
        else:
            content[at : at + 16] = bytes(len(content[at : at + 16]))
        damaged.write_bytes(content)
        try:
            store = open_store(path)
            found = [Change("sums", key, value) for key, value in store.scan("sums", b"", None)]
            count = store.position().changelogs.get("sums", 0)
            store.close()
        except (CorruptStore, Unusable):
            return
        assert found == ROWS[:count]


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
    with pytest.raises(
        NewerFormat, match=f"has format {FORMAT + 1}, but this version of Tidemill reads formats up to {FORMAT}"
    ):
        open_store(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"about", b"{"), (b"about", b"{}"), (b"about", None), (b"stores", b"[]"), (b"stores", b'{"a":70000}')],
)
def test_illegible_meta_is_corrupt(path, key, value):
    put_meta(filled(path), key, value)
    for _ in range(2):
        with pytest.raises(CorruptStore, match=str(path)):
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
    with pytest.raises(CorruptStore, match=str(path)):
        open_store(path)


def test_damage_inside_a_table_is_found_when_it_is_read(path):
    filled(path)
    table = newest_table(path)
    content = bytearray(table.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = b"\xff" * 400
    table.write_bytes(content)
    store = open_store(path)
    with pytest.raises(CorruptStore, match="cannot be read"):
        list(store.scan("sums", b"", None))
    with pytest.raises(CorruptStore, match="cannot be read"):
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


@pytest.mark.slow
def test_a_full_disk_is_reported_and_leaves_an_earlier_commit(path):
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
        # the messages of RocksDB
        (
            "IO error: No space left on device: While appending to file: /x/000020.sst: No space left on device",
            Unusable,
        ),
        ("IO error: While appending to file: /x/000008.sst: File too large", Unusable),
        ("Operation not permitted (os error 1)", Unusable),
        ("IO error: While lock file: {path}/LOCK: Resource temporarily unavailable", InUse),
        ("IO error: While open a file for random read: {path}/000007.sst: Too many open files", Unusable),
        ("IO error: While appending to file: /LOCKED/Corruption/000008.sst: File too large", Unusable),
        (
            "Corruption: block checksum mismatch: stored(context removed) = 222875789, computed = 1302998794",
            CorruptStore,
        ),
        (
            "IO error: No such file or directory: While opening a file for sequentially reading: /x/MANIFEST-9",
            CorruptStore,
        ),
        ("Invalid argument: rocksdict: does not match existing comparator leveldb.BytewiseComparator", CorruptStore),
    ],
)
def test_errors_of_rocksdb_are_classified_by_the_remedy(path, monkeypatch, text, kind):
    def refuse(*_, **__):
        raise Exception(text.format(path=path))  # rocksdict does this

    monkeypatch.setattr("tidemill.state.rocks.Rdict", refuse)
    with pytest.raises(kind, match=str(path)):
        open_store(path)
