"""Tests of both kinds of store against a plain dict, with any sequence of operations."""

import shutil
import tempfile
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.examples import examples
from tidemill.state.memory import MemoryStore
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position

MEMORY = RocksMemory(16 << 20)
FAST_DISK = "/dev/shm" if Path("/dev/shm").is_dir() else None
STORES = st.sampled_from(["sums", "other", "täg"])
KEYS = st.sampled_from([b"", b"\x00", b"a", b"a\x00", b"ab", b"b", b"\xff", b"\xff\xff"])
VALUES = st.sampled_from([b"", b"1", b"2", b"x" * 300])
CHANGES = st.lists(st.builds(Change, STORES, KEYS, st.none() | VALUES), max_size=8)
POSITIONS = st.builds(
    Position,
    st.dictionaries(STORES, st.integers(0, 2**62), max_size=2),
    st.dictionaries(st.sampled_from(["views:0", "views:1"]), st.integers(0, 2**62), max_size=2),
)


class StoresMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self):
        self.path = Path(tempfile.mkdtemp(prefix="tidemill-test-", dir=FAST_DISK))
        self.rocks = self.open()
        self.memory = MemoryStore()
        self.model = {}
        self.position = Position()
        self.scans = []

    def open(self):
        return RocksStore(self.path / "task", "app", "0_1", MEMORY)

    @property
    def both(self) -> tuple[RocksStore, MemoryStore]:
        return self.rocks, self.memory

    @rule(changes=CHANGES, position=POSITIONS)
    def apply(self, changes, position):
        for store in self.both:
            store.apply(iter(changes), position)
        for change in changes:
            rows = self.model.setdefault(change.store, {})
            rows.pop(change.key, None)
            if change.value is not None:
                rows[change.key] = change.value
        self.position = Position(
            {**self.position.changelogs, **position.changelogs}, {**self.position.inputs, **position.inputs}
        )

    @rule(store=STORES)
    def clear(self, store):
        for both in self.both:
            both.clear(store)
        self.model.pop(store, None)
        changelogs = {name: offset for name, offset in self.position.changelogs.items() if name != store}
        self.position = Position(changelogs, self.position.inputs)

    @rule(store=STORES, keys=st.lists(KEYS, max_size=4))
    def get(self, store, keys):
        expected = [self.model.get(store, {}).get(key) for key in keys]
        for both in self.both:
            assert [both.get(store, key) for key in keys] == expected
            assert both.get_many(store, keys) == expected

    def expected(self, store, lo, hi, reverse):
        rows = sorted(self.model.get(store, {}).items(), reverse=reverse)
        return [row for row in rows if lo <= row[0] and (hi is None or row[0] < hi)]

    @rule(store=STORES, lo=KEYS, hi=KEYS | st.none(), reverse=st.booleans())
    def scan(self, store, lo, hi, reverse):
        for both in self.both:
            assert list(both.scan(store, lo, hi, reverse)) == self.expected(store, lo, hi, reverse)

    @rule(store=STORES, lo=KEYS, hi=KEYS | st.none(), reverse=st.booleans(), begin=st.integers(0, 2))
    def begin_scan(self, store, lo, hi, reverse, begin):
        """A scan returns the entries at its start, whatever is written during it."""
        rows = self.expected(store, lo, hi, reverse)
        for both in self.both:
            scan = both.scan(store, lo, hi, reverse)
            assert list(islice(scan, begin)) == rows[:begin]
            self.scans.append((scan, rows[begin:]))

    @rule()
    def end_scans(self):
        for scan, rest in self.scans:
            assert list(scan) == rest
        self.scans = []

    @rule()
    def flush(self):
        self.rocks.flush()

    @rule(loading=st.booleans())
    def load(self, loading: bool):
        self.scans = []
        self.rocks.set_loading(loading)

    @rule()
    def reopen(self):
        self.scans = []
        self.rocks.close()
        self.rocks = self.open()

    @invariant()
    def the_position_is_right(self):
        if hasattr(self, "rocks"):
            assert self.rocks.position() == self.memory.position() == self.position
            size = sum(len(key) + len(value) for rows in self.model.values() for key, value in rows.items())
            assert self.memory.size() == size

    def teardown(self):
        if hasattr(self, "rocks"):
            for store in ("sums", "other", "täg"):
                self.scan(store, b"", None, False)
            self.rocks.close()
            shutil.rmtree(self.path)


StoresMachine.TestCase.settings = examples(40, stateful_step_count=30)
test_stores_are_the_same = StoresMachine.TestCase


@pytest.fixture(params=["rocks", "memory"])
def store(request, tmp_path):
    opened = MemoryStore() if request.param == "memory" else RocksStore(tmp_path / "task", "app", "0_1", MEMORY)
    yield opened
    opened.close()


def test_many_entries_in_both_directions(store):
    rows = [(b"%05d" % i, b"v%d" % i) for i in range(5000)]
    store.apply([Change("sums", key, value) for key, value in reversed(rows)], Position())
    store.apply([Change("before", b"z", b"1"), Change("zafter", b"", b"2")], Position())
    assert list(store.scan("sums", b"", None)) == rows
    assert list(store.scan("sums", b"", None, reverse=True)) == rows[::-1]
    assert list(store.scan("sums", b"01000", b"01003")) == rows[1000:1003]
    assert store.get_many("sums", [key for key, _ in rows]) == [value for _, value in rows]
    assert store.size() > 0


def test_a_store_without_writes_is_empty(store):
    assert store.get("sums", b"a") is None
    assert store.get_many("sums", [b"a", b"b"]) == [None, None]
    assert list(store.scan("sums", b"", None)) == []
    store.clear("sums")
    assert store.position() == Position()


def test_clearing_removes_the_changelog_offset_and_nothing_else(store):
    store.apply([Change("a", b"k", b"1"), Change("b", b"k", b"2")], Position({"a": 5, "b": 6}, {"views:0": 7}))
    store.clear("a")
    assert store.get("a", b"k") is None
    assert store.get("b", b"k") == b"2"
    assert store.position() == Position({"b": 6}, {"views:0": 7})
