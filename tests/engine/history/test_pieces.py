"""The pieces of a history have each row once, in the order of event time, whatever the files look like."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from tidemill.engine.history.pieces import Piece, PiecesEnd, RowGroup, RowGroupName, decoded, encoded, pieces_of

groups = st.lists(st.lists(st.integers(0, 60), max_size=40), max_size=8)
"""The event times of the rows of each row group."""


def row_groups(times: list[list[int]]) -> list[RowGroup]:
    return [
        RowGroup(RowGroupName(f"{number:03}", 0), len(one), min(one, default=None), max(one, default=None))
        for number, one in enumerate(times)
        if one
    ]


def rows(piece: Piece, times: list[list[int]]) -> list[tuple[int, int, int]]:
    """The rows of a piece as a reader finds them: time, group, row."""
    assert piece.since is not None
    assert piece.before is not None
    found = [
        (time, int(name.path), row)
        for name in piece.groups
        for row, time in enumerate(times[int(name.path)])
        if piece.since <= time < piece.before
    ]
    found.sort(key=lambda one: (one[0], [name.path for name in piece.groups].index(f"{one[1]:03}"), one[2]))
    return found[piece.first :] if piece.count is None else found[piece.first : piece.first + piece.count]


@examples(300)
@given(groups, st.integers(1, 30), st.none() | st.integers(0, 70))
def test_each_row_is_in_one_piece_and_in_order(times: list[list[int]], wanted: int, before: int | None) -> None:
    pieces = list(pieces_of(row_groups(times), before=before, wanted=wanted))
    found = [row for piece in pieces for row in rows(piece, times)]
    everything = [(time, group, row) for group, one in enumerate(times) for row, time in enumerate(one)]
    assert sorted(found) == sorted(row for row in everything if before is None or row[0] < before)
    assert [time for time, _, _ in found] == sorted(time for time, _, _ in found)


@examples(100)
@given(st.lists(st.integers(0, 50), max_size=6), st.integers(1, 20))
def test_without_event_times_pieces_are_parts_of_row_groups(counts: list[int], wanted: int) -> None:
    given_groups = [RowGroup(RowGroupName(f"{number}", 0), count) for number, count in enumerate(counts)]
    found = [
        (piece.groups[0].path, piece.first + row)
        for piece in pieces_of(given_groups, wanted=wanted)
        for row in range(piece.count or 0)
    ]
    assert found == [(f"{number}", row) for number, count in enumerate(counts) for row in range(count)]


def test_pieces_of_even_rows_have_about_the_wanted_number() -> None:
    times = [[10 * row + group for row in range(1000)] for group in range(4)]
    pieces = list(pieces_of(row_groups(times), wanted=100))
    assert 35 <= len(pieces) <= 45
    assert max(len(rows(piece, times)) for piece in pieces) <= 150


def test_a_moment_with_many_rows_is_cut() -> None:
    times = [[5] * 250, [5] * 250, [1, 9]]
    pieces = list(pieces_of(row_groups(times), wanted=100))
    assert max(len(rows(piece, times)) for piece in pieces) <= 120


def test_pieces_are_encoded() -> None:
    piece = Piece((RowGroupName("a/b.parquet", 3),), 1, 7, 2, None)
    assert decoded(encoded(piece)) == piece
    assert decoded(encoded(PiecesEnd({0: -1, 3: 8}))) == PiecesEnd({0: -1, 3: 8})
