"""Tests of the changelog format: round trips, and changes of unfinished commits, which are skipped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.state.changelog import INPUTS_HEADER, behind, decode, decode_column, encode
from tidemill.state.store import Change, CorruptStore, NewerFormat, frame

CHANGES = st.lists(st.builds(Change, st.just("sums"), st.binary(), st.none() | st.binary().map(frame)))
INPUTS = st.dictionaries(st.sampled_from(["views:0", "views:1", "täg:0"]), st.integers(0, 2**62))


@given(CHANGES, st.none() | INPUTS)
def test_changes_come_back(changes, inputs):
    records = encode(changes, inputs)
    assert [decode("sums", key, value, headers, inputs) for key, value, headers in records] == changes


COLUMNS = st.lists(st.tuples(st.none() | st.binary(), st.none() | st.binary() | st.binary().map(frame)))


@given(COLUMNS)
def test_a_column_is_decoded_as_its_records_are(records):
    keys, values = [key for key, _ in records], [value for _, value in records]
    try:
        changes = [decode("sums", key, value) for key, value in records]
    except (CorruptStore, NewerFormat) as failure:
        with pytest.raises(type(failure)):
            decode_column("sums", keys, values)
    else:
        assert list(decode_column("sums", keys, values)) == changes


def test_exactly_once_writes_no_headers_and_at_least_once_the_same_one_in_each_record():
    changes = [Change("sums", b"a", frame(b"1")), Change("sums", b"b", None)]
    assert encode(changes, None) == [(b"a", b"\x011", None), (b"b", None, None)]
    header = [(INPUTS_HEADER, b'\x01{"views:0":7}')]
    assert encode(changes, {"views:0": 7}) == [(b"a", b"\x011", header), (b"b", None, header)]


@pytest.mark.parametrize(
    ("committed", "counts"),
    [
        ({"views:0": 7, "views:1": 3}, True),
        ({"views:0": 8, "views:1": 9}, True),
        ({"views:0": 6, "views:1": 3}, False),
        ({"views:0": 7, "views:1": 2}, False),
        ({"views:0": 7}, True),  # views:1 is not an input any more
        (None, True),
    ],
)
def test_changes_beyond_the_committed_offsets_are_left_out(committed, counts):
    [(key, value, headers)] = encode([Change("sums", b"a", None)], {"views:0": 7, "views:1": 3})
    assert decode("sums", key, value, headers, committed) == (Change("sums", b"a", None) if counts else None)


def test_the_headers_of_others_do_not_matter():
    assert decode("sums", b"a", None, (("trace", b"x"),), {"views:0": 0}) == Change("sums", b"a", None)


@pytest.mark.parametrize("value", [b"", b"\x02x"])
def test_a_value_of_a_later_version_is_refused(value):
    with pytest.raises(NewerFormat, match="store 'sums' begins with version byte"):
        decode("sums", b"a", value)


def test_a_header_of_a_later_version_is_refused():
    with pytest.raises(NewerFormat, match="version byte 02"):
        decode("sums", b"a", None, ((INPUTS_HEADER, b"\x02{}"),), {})


def test_a_record_without_a_key_is_refused():
    with pytest.raises(CorruptStore, match="without a key"):
        decode("sums", None, frame(b"1"))


@pytest.mark.parametrize(
    ("inputs", "old"),
    [
        ({"in:0": 4}, True),
        ({"in:0": 4, "more:0": 9}, True),
        ({"in:0": 5}, False),
        ({"in:0": 6}, False),
        ({"in:0": 4, "more:0": 10}, False),
        ({"other:0": 1}, False),
        (None, True),
    ],
)
def test_a_record_is_behind_if_its_commit_was_before_the_committed_offsets(
    inputs: dict[str, int] | None, old: bool
) -> None:
    """A commit that reached further was lost, and one that reached just as far may have been."""
    [(_, _, headers)] = encode([Change("n", b"k", frame(b"1"))], inputs)
    assert behind("n", headers or (), {"in:0": 5, "more:0": 9}) is old
