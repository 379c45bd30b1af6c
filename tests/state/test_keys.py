"""Tests of composite keys: sorted like tuples, exact round trips, and prefix ranges."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.state.keys import numbered_key, pack, prefix_range, split_window_key, successor, unpack, window_key

INTS = st.integers(-(2**63), 2**63 - 1)
# Few letters, including escaped ones, so that prefixes and ties occur.
BYTES = st.lists(st.sampled_from([0, 1, 2, 97, 254, 255]), max_size=5).map(bytes) | st.binary(max_size=12)
KINDS = {int: INTS | st.integers(-2, 2), bytes: BYTES}
SHAPES = st.lists(st.sampled_from([int, bytes]), min_size=2, max_size=4)
PAIRS = SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), *[st.tuples(*[KINDS[kind] for kind in shape])] * 2))


@given(PAIRS)
def test_keys_sort_like_tuples(case):
    _, a, b = case
    assert (pack(*a) < pack(*b)) == (a < b)
    assert (pack(*a) == pack(*b)) == (a == b)


@given(PAIRS)
def test_keys_come_back(case):
    shape, parts, _ = case
    assert unpack(pack(*parts), *shape) == parts


@given(PAIRS, st.data())
def test_a_prefix_range_holds_the_keys_that_begin_with_it(case, data):
    shape, parts, other = case
    length = data.draw(st.integers(1, len(shape) - 1))
    lo, hi = prefix_range(*parts[:length])
    for key in (parts, other, parts[:length] + other[length:]):
        raw = pack(*key)
        assert (lo <= raw and (hi is None or raw < hi)) == (key[:length] == parts[:length])


@given(BYTES, BYTES)
def test_the_successor_of_a_prefix_ends_it(prefix, other):
    end = successor(prefix)
    assert (prefix <= other and (end is None or other < end)) == other.startswith(prefix)


@given(INTS, BYTES)
def test_window_keys_are_packed_keys(start, key):
    assert window_key(start, key) == pack(start, key)
    assert split_window_key(window_key(start, key)) == (start, key)
    assert numbered_key(start, 7, key) == pack(start, 7, key)


def test_windows_expire_from_the_front():
    keys = sorted(window_key(start, key) for start in (-60_000, 0, 60_000) for key in (b"", b"a", b"b\x00c"))
    expired = [key for key in keys if key < pack(0, b"")]
    assert [split_window_key(key) for key in expired] == [(-60_000, b""), (-60_000, b"a"), (-60_000, b"b\x00c")]


def test_no_bound_is_needed_after_the_last_prefix():
    assert prefix_range(2**63 - 1) == (b"\xff" * 8, None)
    assert prefix_range() == (b"", None)


def test_an_integer_of_more_than_64_bits_is_refused():
    with pytest.raises(struct.error):
        pack(2**63, b"")
