"""Tests of the cache against a plain dict: reads are equal after any writes, commits, discards and evictions."""

import json
import math
from copy import deepcopy
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.examples import examples
from tidemill.state.cache import Codec, StateCache
from tidemill.state.key_equality import all_plain
from tidemill.state.keys import split_window_key, window_key
from tidemill.state.memory import MemoryStore
from tidemill.state.store import VERSION, Change, NewerFormat, Position, frame, unframe

KEYS = st.tuples(st.integers(-2, 3), st.sampled_from(["", "a", "ab", "b"]))  # (window start, user)
BOUNDS = st.integers(-3, 4)


def encode_key(key):
    return window_key(key[0], key[1].encode())


def decode_key(raw):
    start, user = split_window_key(raw)
    return start, user.decode()


CODEC = Codec(encode_key, decode_key, lambda value: json.dumps(value).encode(), json.loads)


def make(store=None):
    return StateCache(store or MemoryStore(), "sums", CODEC)


class CacheMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.store = MemoryStore()
        self.cache = make(self.store)
        self.now = {}  # what the cache must show
        self.stored = {}  # what the store holds
        self.drained = {}  # written, drained, not completed
        self.changes = []

    def dirty(self):
        return [decode_key(key) if isinstance(key, bytes) else key for key in self.cache.dirty]

    @rule(key=KEYS, value=st.lists(st.integers(0, 9), max_size=3))
    def put(self, key, value):
        self.cache.put(key, value)
        self.now[key] = list(value)

    @rule(key=KEYS, value=st.lists(st.integers(0, 9), max_size=3))
    def put_without_the_call(self, key, value):
        self.cache[key] = value
        self.cache.dirty_add(key)
        self.now[key] = list(value)

    @rule(key=KEYS, number=st.integers(0, 9), touch=st.booleans())
    def change_in_place(self, key, number, touch):
        value = self.cache[key]
        if value is None:
            return
        value.append(number)
        if touch:
            self.cache.touch(key)
        else:
            self.cache.put(key, value)
        self.now[key].append(number)

    @rule(key=KEYS)
    def delete(self, key):
        self.cache.delete(key)
        self.now.pop(key, None)

    @rule(key=KEYS, value=st.lists(st.integers(0, 9), max_size=3))
    def put_and_withdraw(self, key, value):
        """Of a key that the store has not, or has not any more once what is drained is settled."""
        if key in self.dirty() or self.drained.get(key, self.stored.get(key)) is not None:
            return
        self.cache.put(key, value)
        self.cache.withdraw(key)

    @rule(key=KEYS, value=st.lists(st.integers(0, 9), max_size=3), delete=st.booleans())
    def create(self, key, value, delete):
        if self.cache[key] is not None or key in self.dirty() or self.drained.get(key) is not None:
            return
        if key not in self.drained and key in self.stored:
            return
        self.cache.create(key, value)
        self.now[key] = list(value)
        if delete:
            self.delete(key)

    @rule(key=KEYS)
    def get(self, key):
        assert self.cache[key] == self.now.get(key)

    def expected(self, lo, hi, reverse):
        keys = [key for key in self.now if lo <= key[0] and (hi is None or key[0] < hi)]
        return [(key, self.now[key]) for key in sorted(keys, key=encode_key, reverse=reverse)]

    @rule(lo=BOUNDS, hi=BOUNDS | st.none(), reverse=st.booleans(), stop=st.integers(0, 4) | st.none())
    def scan(self, lo, hi, reverse, stop):
        found = self.cache.scan(window_key(lo, b""), None if hi is None else window_key(hi, b""), reverse)
        assert list(islice(found, stop)) == self.expected(lo, hi, reverse)[:stop]

    @rule(lo=BOUNDS, hi=BOUNDS, reverse=st.booleans(), victims=st.sets(KEYS, max_size=4), grow=st.booleans())
    def write_while_scanning(self, lo, hi, reverse, victims, grow):
        """Scan while entries are deleted and changed: each entry is visited once and in order."""
        seen = []
        for key, value in self.cache.scan(window_key(lo, b""), window_key(hi, b""), reverse):
            assert value == self.now[key]
            seen.append(key)
            if grow:
                value.append(7)
                self.cache.put(key, value)
                self.now[key].append(7)
            if victims:
                self.delete(victims.pop())
        order = [encode_key(key) for key in seen]
        assert order == sorted(set(order), reverse=reverse)
        assert set(seen) >= {key for key, _ in self.expected(lo, hi, reverse)}

    @rule()
    def drain(self):
        written = self.dirty()
        changes = list(self.cache.drain())
        drained = [decode_key(change.key) for change in changes]
        assert drained == [key for key in written if key in drained]
        assert all(key not in self.now for key in set(written) - set(drained))  # made and deleted again
        for change in changes:
            value = self.now.get(decode_key(change.key))
            assert change == Change("sums", change.key, None if value is None else frame(json.dumps(value).encode()))
            self.drained[decode_key(change.key)] = deepcopy(value)
        self.changes += changes
        assert not self.cache.dirty

    @precondition(lambda self: self.changes)
    @rule()
    def settle(self):
        self.store.apply(self.changes, Position())
        self.cache.complete_commit()
        for key, value in self.drained.items():
            if value is None:
                self.stored.pop(key, None)
            else:
                self.stored[key] = value
        self.drained, self.changes = {}, []

    @rule()
    def discard(self):
        self.cache.discard()
        self.now = deepcopy(self.stored)
        self.drained, self.changes = {}, []
        assert not self.cache.dirty
        assert self.cache.dirty_bytes == 0

    @rule(budget=st.integers(0, 5000))
    def trim(self, budget):
        written = len(set(self.dirty()) | set(self.drained))
        self.cache.trim(budget)
        assert self.cache.memory <= budget or len(self.cache) == written

    @rule()
    def commit(self):
        self.drain()
        if self.changes:
            self.settle()

    @rule()
    def by_bytes(self):
        self.cache.by_bytes()

    @invariant()
    def the_store_holds_what_was_settled(self):
        rows = {decode_key(key): json.loads(unframe(raw)) for key, raw in self.store.scan("sums", b"", None)}
        assert rows == self.stored

    def teardown(self):
        self.scan(-3, None, False, None)
        for key in list(self.now):
            assert self.cache[key] == self.now[key]


ODD = st.sampled_from(
    [0, 1, 2, 1.0, True, False, 0.0, -0.0, "1", None, 2.5, math.nan, (1, "a"), (True, "a"), (1.0, "a")]
)


def written(key):
    """As JSON would write it."""
    return repr(list(key) if isinstance(key, tuple) else key).encode()


def read(raw):
    key = eval(raw.decode(), {"nan": math.nan})
    return tuple(key) if isinstance(key, list) else key


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "delete", "get", "scan", "commit", "trim", "discard"]), ODD), max_size=30
    ),
    st.integers(0, 20),
)
@examples(150)
def test_a_key_is_its_bytes(steps, plain_steps):
    """Whatever is equal in Python; the keys of the first steps are plain ones, which a dict distinguishes."""
    store = MemoryStore()
    cache = StateCache(store, "sums", Codec(written, read, CODEC.encode_value, CODEC.decode_value))
    now, stored, odd = {}, {}, False
    for number, (step, key) in enumerate(steps):
        if number < plain_steps and not all_plain((key,)):
            continue
        if not all_plain((key,)) and not odd:
            cache.by_bytes()  # as the task does when such a key comes
            odd = True
        raw = written(key)
        if step == "add":
            row = cache[key]
            cache[key] = [*(row or []), number]
            cache.dirty_add(key)
            now[raw] = [*now.get(raw, []), number]
        elif step == "delete":
            cache.delete(key)
            now.pop(raw, None)
        elif step == "scan":
            assert [(written(key), row) for key, row in cache.scan(b"", None)] == sorted(now.items())
        elif step == "commit":
            commit(cache, store)
            stored = dict(now)
        elif step == "trim":
            cache.trim(0)
        elif step == "discard":
            cache.discard()
            now = dict(stored)
        assert cache[key] == now.get(raw)
        assert (key in cache) is True


def test_a_key_that_a_scan_finds_is_distinguished_from_equal_ones():
    store = MemoryStore()
    codec = Codec(written, read, CODEC.encode_value, CODEC.decode_value)
    before = StateCache(store, "sums", codec)
    before.by_bytes()
    for key in (1, True, 1.0):
        before.put(key, [repr(key)])
    commit(before, store)
    cache = StateCache(store, "sums", codec)
    mark = cache.dirty_add
    assert cache[1] == ["1"]
    for key, row in cache.scan(b"", None):
        assert cache[key] == row == [repr(key)]
        cache[key] = [*row, "seen"]
        mark(key)
    assert [change.value for change in cache.drain()] == [
        frame(json.dumps([text, "seen"]).encode()) for text in ("1", "1.0", "True")
    ]


CacheMachine.TestCase.settings = examples(60, stateful_step_count=40)
test_cache_reads_as_a_dict = CacheMachine.TestCase


class CountingStore(MemoryStore):
    reads = 0

    def get(self, store, key):
        self.reads += 1
        return super().get(store, key)


def filled(count, store=None):
    cache = make(store)
    for i in range(count):
        cache.put((i, "user"), [i])
    return cache


def commit(cache, store):
    store.apply(cache.drain(), Position())
    cache.complete_commit()


def test_a_hit_and_a_known_absence_read_the_store_once():
    store = CountingStore()
    store.apply([Change("sums", encode_key((1, "a")), frame(b"[1]"))], Position())
    cache = make(store)
    assert [cache[1, "a"], cache[1, "a"], cache[2, "b"], cache[2, "b"]] == [[1], [1], None, None]
    assert store.reads == 2


def test_dirty_add_stays_valid_over_commits_and_discards():
    store = MemoryStore()
    cache = make(store)
    mark = cache.dirty_add
    for round_ in range(3):
        cache[0, "a"] = [round_]
        mark((0, "a"))
        assert len(cache.drain()) == 1
        if round_ == 1:
            cache.discard()
        else:
            cache.complete_commit()


def test_written_entries_are_never_dropped_and_clean_ones_oldest_first():
    store = CountingStore()
    cache = filled(100, store)
    cache.trim(0)
    assert len(cache) == 100
    drained = cache.drain()
    cache.put((5, "user"), ["again"])
    cache.trim(0)
    assert len(cache) == 100
    store.apply(drained, Position())
    cache.complete_commit()
    cache.trim(cache.memory // 2)
    assert 40 <= len(cache) <= 50
    assert list(cache) == [(5, "user"), *[(i, "user") for i in range(100 - len(cache) + 1, 100)]]


def test_an_entry_written_since_the_last_trim_outlives_older_ones():
    store = CountingStore()
    cache = filled(100, store)
    commit(cache, store)
    cache.trim(cache.memory - 1)
    oldest = next(iter(cache))
    cache.touch(oldest)
    commit(cache, store)
    cache.trim(cache.memory // 2)
    assert oldest in cache


@given(st.integers(1, 300), st.integers(0, 200), st.booleans())
@examples(40)
def test_dirty_bytes_are_near_the_true_size(count, length, committed_before):
    store = MemoryStore()
    cache = make(store)
    for i in range(count):
        cache.put((i, f"user-{i}"), [1] * length)
        if committed_before and i == count // 2:
            commit(cache, store)
    estimate = cache.dirty_bytes
    true = sum(len(change.key) + len(change.value or b"") for change in cache.drain())
    assert true / 2 <= estimate <= true * 2


def test_dirty_bytes_encode_only_a_few_entries():
    encoded = []
    codec = Codec(encode_key, decode_key, lambda value: encoded.append(value) or b"xx", json.loads)
    cache = StateCache(MemoryStore(), "sums", codec)
    for i in range(10_000):
        cache.put((i, "user"), [i])
        assert cache.dirty_bytes > 0
    assert len(encoded) < 200


def test_a_scan_encodes_each_written_key_once():
    encoded = []

    def counting(key):
        encoded.append(key)
        return encode_key(key)

    cache = StateCache(MemoryStore(), "sums", Codec(counting, decode_key, CODEC.encode_value, json.loads))
    for i in range(500):
        cache.put((i, "user"), [i])
        assert next(cache.scan(b"", None))[0] == (0, "user")
    assert len(encoded) == 500


@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_gets_over_many_written_keys(reverse):
    cache = filled(300)
    assert [key[0] for key, _ in cache.scan(window_key(1, b""), window_key(299, b""), reverse)] == (
        list(range(298, 0, -1)) if reverse else list(range(1, 299))
    )


def test_a_value_of_a_later_version_is_refused():
    store = MemoryStore()
    store.apply([Change("sums", encode_key((1, "a")), b"\x02[1]")], Position())
    with pytest.raises(NewerFormat, match="version byte 02, but this version of Tidemill reads 01"):
        make(store)[1, "a"]
    assert unframe(VERSION + b"x") == b"x"


def test_what_was_created_and_deleted_between_two_drains_is_out_of_the_index():
    cache = make()
    cache.create((0, "a"), [1])
    cache.delete((0, "a"))
    assert list(cache.scan(b"", None)) == list(cache.drain()) == []
    assert list(cache.scan(b"", None)) == []
