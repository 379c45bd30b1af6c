"""The pieces of a history: which rows are read together, and in which order. Pure.

A piece is a range of event time and the row groups that may have rows in it, so that all rows are read in event-time
order, however the files overlap. A range is chosen to have about as many rows as wanted, as if the rows of a row group
were spread evenly over its time. Without event times, a piece is a part of one row group.

    files -> row groups with their oldest and newest time -> cuts of event time -> pieces, then the end
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

__all__ = ["PIECE_ROWS", "Piece", "PiecesEnd", "RowGroup", "RowGroupName", "decoded", "encoded", "pieces_of"]

PIECE_ROWS: Final = 20_000
"""The rows that a piece should have: they are in memory, and written, at a time."""


class RowGroupName(msgspec.Struct, frozen=True, array_like=True):
    """A row group of a file."""

    path: str
    number: int


class RowGroup(msgspec.Struct, frozen=True):
    """What is known of a row group; times in ms, None without event times."""

    name: RowGroupName
    rows: int
    oldest: int | None = None
    newest: int | None = None


class Piece(msgspec.Struct, frozen=True, tag="piece"):
    """Rows to read: of the groups, those in a range of event time, and of these a slice."""

    groups: tuple[RowGroupName, ...]
    since: int | None = None
    """The oldest time, in ms; None without event times."""
    before: int | None = None
    first: int = 0
    """How many of the rows, in order, are passed over."""
    count: int | None = None
    """How many rows there are then; None for all others."""
    version: int | None = None
    """The version of the table that has the groups; None for files."""
    partitions: int = 0
    """The partitions of the history's topic; 0 in pieces of earlier versions, whose rows are not packed."""


class PiecesEnd(msgspec.Struct, frozen=True, tag="end"):
    """The end of a history, with the offset at which each partition of the topic begins."""

    begins: dict[int, int]


AnyPiece: TypeAlias = "Piece | PiecesEnd"
_decoder = msgspec.json.Decoder(Piece | PiecesEnd)


def encoded(piece: AnyPiece) -> bytes:
    """Return a piece as the value of a record."""
    return zlib.compress(msgspec.json.encode(piece))


def decoded(value: bytes) -> AnyPiece:
    """Return the piece in a record."""
    return _decoder.decode(zlib.decompress(value))


def pieces_of(groups: Sequence[RowGroup], *, before: int | None = None, wanted: int = PIECE_ROWS) -> Iterator[Piece]:
    """Return the pieces of row groups, in order of event time or else of the groups.

    Rows from the time `before` on are left out, in ms. A piece has about `wanted` rows.
    """
    timed = [(group.oldest, group.newest, group) for group in groups if group.rows]
    ranges = [(oldest, newest, group) for oldest, newest, group in timed if oldest is not None and newest is not None]
    if len(ranges) < len(timed):
        for group in groups:
            for first in range(0, group.rows, wanted):
                yield Piece((group.name,), first=first, count=min(wanted, group.rows - first))
        return
    if before is not None:
        ranges = [(oldest, min(newest, before - 1), group) for oldest, newest, group in ranges if oldest < before]
    ranges.sort(key=lambda one: (one[0], one[2].name.path, one[2].name.number))
    cuts = _cuts(ranges, wanted)
    active: list[tuple[int, int, RowGroup]] = []
    place = 0
    for since, until in pairwise(cuts):
        while place < len(ranges) and ranges[place][0] < until:
            active.append(ranges[place])
            place += 1
        active = [one for one in active if one[1] >= since]
        if active:
            yield from _sliced(active, since, until, wanted)


def _sliced(active: Sequence[tuple[int, int, RowGroup]], since: int, until: int, wanted: int) -> Iterator[Piece]:
    """Return the pieces of a range of time: several if one moment has too many rows."""
    names = tuple(group.name for _, _, group in active)
    certain = sum(group.rows for oldest, newest, group in active if since <= oldest and newest < until)
    first = 0
    while until - since == 1 and certain - first > wanted:
        yield Piece(names, since, until, first, wanted)
        first += wanted
    yield Piece(names, since, until, first)


def _cuts(ranges: Sequence[tuple[int, int, RowGroup]], wanted: int) -> list[int]:
    """Return the times at which pieces begin, and the end of the last one."""
    if not ranges:
        return []
    changes: dict[int, float] = {}
    for oldest, newest, group in ranges:
        density = group.rows / (newest + 1 - oldest)
        changes[oldest] = changes.get(oldest, 0) + density
        changes[newest + 1] = changes.get(newest + 1, 0) - density
    times = sorted(changes)
    cuts, rows, density = [times[0]], 0.0, 0.0
    for time, following in pairwise(times):
        density = max(0.0, density + changes[time])
        at = time
        if density >= wanted and cuts[-1] < time:  # a moment with many rows is a range of its own
            cuts.append(time)
            rows = 0.0
        while density > 0 and rows + density * (following - at) >= wanted:
            at = min(following, at + max(1, int((wanted - rows) / density)))
            cuts.append(at)
            rows = 0.0
        rows += density * (following - at)
    if cuts[-1] != times[-1]:
        cuts.append(times[-1])
    return cuts
