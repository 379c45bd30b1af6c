"""The step that reads the pieces of a history and writes their rows to its topic.

A piece is a record of an internal topic, so what has been read is an offset, committed with the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

from ..errors import RecordError
from ..graph.codecs import Encoder
from ..graph.history import History, HistoryEnd, HistoryInput, HistoryReader, HistoryRows, InvalidRow, PackedRows
from ..graph.operator import Operator
from ..record import Outgoing, Record
from .end_marker import end_row
from .packed_rows import packed_row

__all__ = ["HistoryWriter"]

Found: TypeAlias = "HistoryRows | PackedRows | InvalidRow | HistoryEnd"


class HistoryWriter(Operator):
    """The writer of a history, a piece at a time."""

    def __init__(self, step: str, history: History, given: HistoryInput, encoder: Encoder) -> None:
        self._step = step
        self._history = history
        self._given = given
        self._encoder = encoder
        self._reader: HistoryReader | None = None
        self._rest: Iterator[Found] = iter(())
        """What is left of a piece after a row that was dropped."""

    def process(self, records: list[Record[Any, Any]], now: int) -> list[Outgoing]:
        if self._reader is None:
            self._reader = self._history.reader(self._given)
        written: list[Outgoing] = []
        self._write(self._rest, -1, written)
        for place, record in enumerate(records):
            self._rest = self._reader.read(record.value)
            self._write(self._rest, place, written)
        return written

    def _write(self, piece: Iterator[Found], place: int, written: list[Outgoing]) -> None:
        """Write what is left of a piece.

        Raises RecordError for a row; the next call goes on after it.
        """
        for found in piece:
            if isinstance(found, HistoryEnd):
                written.append(Outgoing("", [end_row(*end) for end in sorted(found.begins.items())]))
            elif isinstance(found, PackedRows):
                written.append(Outgoing("", [packed_row(found)], [Record(None, None, found.newest)]))
            elif isinstance(found, InvalidRow):
                row = Record(None, found.row, found.timestamp)
                raise RecordError(self._step, place, row, written, doing="read", counted="invalid row") from found.error
            else:
                rows = [Record(*row) for row in zip(*found, strict=True)]
                written.append(Outgoing("", self._encoder.rows(rows), rows))

    def collect(self, now: int, limit: int | None) -> list[Outgoing]:
        return []

    @property
    def room(self) -> int | None:
        """One piece at a time: each becomes many records."""
        return 1
