"""Tests of the window cache against a plain dict, and of its store changes against its changelog records."""

from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.examples import examples
from tidemill.operators.serdes.base import utf8
from tidemill.operators.serdes.json import json as json_serde
from tidemill.operators.stores.entries import BOOKS as BEFORE_WINDOWS
from tidemill.operators.stores.entries import STREAM_TIME_KEY, WAIT, serde_entry, windowed_codec
from tidemill.state import forgotten
from tidemill.state.changes import Changes
from tidemill.state.keys import window_key
from tidemill.state.memory import MemoryStore
from tidemill.state.rocks import RocksMemory, RocksStore
from tidemill.state.store import Change, Position, Store, frame
from tidemill.state.window_cache import WindowCache

STARTS = st.integers(0, 5)
SLOTS = st.tuples(STARTS, st.sampled_from(["", "a", "ab", "b"]))
BOOKS = st.sampled_from([STREAM_TIME_KEY, (WAIT, (1, "a")), (WAIT, (4, ""))])
KEYS = SLOTS | BOOKS
VALUES = st.tuples(st.integers(0, 9), st.integers(0, 9))
BOUNDS = st.integers(-1, 6)
STOPS = st.integers(0, 4) | st.none()
CODEC = windowed_codec(utf8, *serde_entry(json_serde))
encode_key, decode_key = CODEC.encode_key, CODEC.decode_key


class WindowCacheMachine(RuleBasedStateMachine):
    """With an in-memory store, which applies the keys of the changes."""

    def __init__(self):
        super().__init__()
        self.store: Store = MemoryStore()
        self.cache = WindowCache(self.store, "sums", CODEC)
        self.now: dict[Any, Any] = {}  # what the cache must show
        self.stored: dict[Any, Any] = {}  # what the store holds
        self.drained: dict[Any, Any] | None = None  # what it holds once the drained changes are settled
        self.changes = Changes()
        self.changelog: dict[bytes, bytes | None] = {}  # the last record of each key

    @initialize(rows=st.dictionaries(SLOTS, VALUES, max_size=6))
    def begin_with(self, rows):
        """Return a store with the contents of an earlier run."""
        changes = [Change("sums", encode_key(key), frame(CODEC.encode_value(value))) for key, value in rows.items()]
        self.store.apply(changes, Position())
        self.changelog = {change.key: change.value for change in changes}
        self.now, self.stored = dict(rows), dict(rows)

    @rule(key=KEYS, value=VALUES)
    def put(self, key, value):
        self.cache.put(key, value)
        self.now[key] = value

    @rule(key=SLOTS, value=VALUES, read=st.booleans())
    def put_in_page(self, key, value, read):
        start, inner = key
        page = self.cache.page(start)
        if read:
            assert page.find(inner) == self.now.get(key)
        page[inner] = value
        page.mark(inner)
        self.now[key] = value

    @rule(start=STARTS)
    def touch_nothing(self, start):
        self.cache.page(start)

    @rule(key=KEYS)
    def delete(self, key):
        self.cache.delete(key)
        self.now.pop(key, None)

    @rule(key=KEYS)
    def get(self, key):
        assert self.cache[key] == self.now.get(key)

    @rule(first=STARTS, length=st.integers(0, 3), front=st.booleans())
    def forget(self, first, length, front=False):
        """From the front are only windows, and not what is kept beside them."""
        after = first + length
        self.cache.forget(-(1 << 63) if front else first, after)
        first = BEFORE_WINDOWS + 1 if front else first
        self.now = {key: value for key, value in self.now.items() if not first <= key[0] < after}

    def expected(self, lo, hi, reverse):
        keys = [key for key in self.now if lo <= encode_key(key) and (hi is None or encode_key(key) < hi)]
        return [(key, self.now[key]) for key in sorted(keys, key=encode_key, reverse=reverse)]

    @rule(
        lo=BOUNDS, hi=BOUNDS | st.none(), books=st.booleans(), reverse=st.booleans(), stop=st.integers(0, 4) | st.none()
    )
    def scan(self, lo, hi, books, reverse, stop):
        first, end = b"" if books else window_key(lo, b""), None if hi is None else window_key(hi, b"")
        found = list(islice(self.cache.scan(first, end, reverse), stop))
        assert found == self.expected(first, end, reverse)[:stop]

    @rule(lo=SLOTS, hi=SLOTS, reverse=st.booleans())
    def scan_between_keys(self, lo, hi, reverse):
        first, end = encode_key(lo), encode_key(hi)
        assert list(self.cache.scan(first, end, reverse)) == self.expected(first, end, reverse)

    @rule(reverse=st.booleans(), victims=st.sets(SLOTS, max_size=3), forgotten=STARTS | st.none(), grow=st.booleans())
    def write_while_scanning(self, reverse, victims, forgotten, grow):
        """Scan while entries are deleted and changed: each entry is visited once and in order."""
        seen = []
        for key, value in self.cache.scan(b"", None, reverse):
            assert value == self.now[key]
            seen.append(key)
            if grow:
                self.put(key, (value[0], value[1] + 1))
            if victims:
                self.delete(victims.pop())
            elif forgotten is not None:
                self.forget(forgotten, 1)
                forgotten = None
        order = [encode_key(key) for key in seen]
        assert order == sorted(set(order), reverse=reverse)
        assert set(seen) >= set(self.now)

    @rule()
    def drain(self):
        assert bool(self.cache.dirty_bytes) <= bool(self.cache.dirty)
        assert self.cache._forgotten.size == sum(map(len, self.cache._forgotten.keys))
        before = {key: value for key, value in self.changelog.items() if value is not None}
        changes = self.cache.drain()
        assert not self.cache.dirty
        assert self.cache.dirty_bytes == 0
        for column in changes.columns:
            covered = column.keys[: column.covered]
            assert column.values[: column.covered] == [None] * column.covered
            assert len(set(covered)) == column.covered
            gone = {key for key in before if any(lo <= key < hi for lo, hi in column.ranges)}
            assert set(covered) >= gone, "a range deletes what the changelog does not"
        for change in changes:
            self.changelog[change.key] = change.value
        self.changes += changes
        self.drained = dict(self.now)
        live = {decode_key(key): value for key, value in self.changelog.items() if value is not None}
        assert live.keys() == self.now.keys()

    @precondition(lambda self: self.drained is not None)
    @rule()
    def settle(self):
        self.store.apply(self.changes, Position())
        self.cache.complete_commit()
        self.stored, self.drained, self.changes = dict(self.drained or {}), None, Changes()

    @rule()
    def discard(self):
        self.cache.discard()
        self.now = dict(self.stored)
        self.drained, self.changes = None, Changes()
        self.changelog = {encode_key(key): b"" for key in self.stored}
        assert not self.cache.dirty
        assert self.cache.dirty_bytes == 0

    @rule()
    def reopen(self):
        self.discard()
        self.cache = WindowCache(self.store, "sums", CODEC)

    @rule(budget=st.integers(0, 6000))
    def trim(self, budget):
        self.cache.trim(budget)
        if self.drained is None and not self.cache.dirty:
            assert self.cache.memory <= budget or not self.cache._pages

    @rule()
    def commit(self):
        self.drain()
        self.settle()

    @rule()
    def by_bytes(self):
        self.cache.by_bytes()

    @invariant()
    def the_store_holds_what_was_settled(self):
        rows = {decode_key(key): CODEC.decode_value(raw[1:]) for key, raw in self.store.scan("sums", b"", None)}
        assert rows == self.stored

    def teardown(self):
        assert list(self.cache.scan(b"", None)) == self.expected(b"", None, False)
        for key in list(self.now):
            assert self.cache[key] == self.now[key]


WindowCacheMachine.TestCase.settings = examples(150, stateful_step_count=40)
test_window_cache_reads_as_a_dict = WindowCacheMachine.TestCase


class OnDisk(WindowCacheMachine):
    """With RocksDB, which applies the ranges."""

    memory = RocksMemory(8 << 20)

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()
        self.store = RocksStore(Path(self.folder.name), "app", "0_0", self.memory)
        self.cache = WindowCache(self.store, "sums", CODEC)

    def teardown(self):
        super().teardown()
        self.store.close()
        self.folder.cleanup()


OnDisk.TestCase.settings = examples(40, stateful_step_count=40)
test_ranges_on_disk_are_the_keys_in_the_changelog = OnDisk.TestCase


@pytest.fixture(autouse=True)
def _ranges(monkeypatch):
    """So that the few keys of a test are worth a range."""
    monkeypatch.setattr(forgotten, "FEW", 1)
