"""The search for the record that Kafka rejects, and processing without it.

A broker rejects a transaction or a batch without naming the record. So the work since the last commit is repeated in
small slices, each committed separately: valid slices are committed, and a rejected slice is made smaller, until rows
are delivered one by one and the record is known. Then the policy of its step decides: stop the program, or skip the
rejected rows and continue.

    closed --rejected--> slices of 64 records --rejected--> of 8, row by row --rejected--> of 1
       ^                     |
       '---- committed ------'      each commit doubles the slices
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ...operators.history.packed_rows import is_packed
from ...operators.record import Outgoing, Row
from ..errors import Fatal, RecordError, RecordRejected
from ..tasks.task import Task

__all__ = ["InputOffset", "RejectedRecordSearch", "of_row"]

WIDEST = 64
NARROWER = 8
ROW_BY_ROW = 8
"""The largest slice whose rows are delivered one by one."""
MOST_NAMED = 100
"""How often rows with one key and timestamp may be rejected in one search.

A function that makes a different row each time would otherwise continue the search without end.
"""

InputOffset: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of an input record."""


class RejectedRecordSearch:
    """The search for records that Kafka rejects."""

    def __init__(self) -> None:
        self._cut: int | None = None
        self._rows: set[tuple[object, ...]] = set()
        """The rows that are skipped."""
        self._named: dict[tuple[object, ...], int] = {}
        self.left_out: set[InputOffset] = set()
        """Input records that are skipped, because the state that they lead to is rejected."""

    @property
    def open(self) -> bool:
        """Whether work is done in small slices, each committed separately."""
        return self._cut is not None

    @property
    def one_by_one(self) -> bool:
        """Whether rows are delivered one by one."""
        return self._cut is not None and self._cut <= ROW_BY_ROW

    def limit(self, most: int) -> int:
        """Return the maximum number of records of the next run, at most `most`."""
        return most if self._cut is None else min(most, self._cut)

    def refused(self, failure: RecordRejected, task: Task | None) -> None:
        """Narrow the search after a rejection; the caller rolls back to the last commit.

        `task` is the one whose input led to the rejected record, None if no input did. Raises RecordError if the record
        is known and the policy is to stop, and the failure itself if the record cannot be determined.
        """
        if failure.row is not None and task is not None:
            self._name(failure, task)
        elif self._cut != 1:
            self._cut = WIDEST if self._cut is None else max(1, self._cut // NARROWER)
        elif task is None or (error := _of_state(failure, task)) is None:
            raise failure
        else:
            task.refuse(error)
            self.left_out.add((*task.taken_from, error.offset))

    def committed(self) -> None:
        """Widen the slices after a commit, and end the search at the full size."""
        if self._cut is None:
            return
        self._cut *= 2
        if self._cut > WIDEST:
            self._cut = None
            self._rows.clear()
            self._named.clear()
            self.left_out.clear()

    def without(self, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """Return the output without the rows that were rejected."""
        if not self._rows:
            return list(outgoing)
        kept: list[Outgoing] = []
        for out in outgoing:
            places = [place for place, row in enumerate(out.rows) if _content(out, row) not in self._rows]
            if places:
                records = [out.records[place] for place in places]
                kept.append(Outgoing(out.topic, [out.rows[place] for place in places], records, out.step))
        return kept

    def _name(self, failure: RecordRejected, task: Task) -> None:
        assert failure.row is not None
        out, place = failure.row
        row = out.rows[place]
        like = (out.topic, row[0], row[2])
        self._named[like] = self._named.get(like, 0) + 1
        error = of_row(failure)
        if self._named[like] > MOST_NAMED:
            raise error.at(task.origin.topic, task.origin.partition, task.origin.task)
        task.refuse(error)
        self._rows.add(_content(out, row))
        self._cut = self._cut or WIDEST


def of_row(failure: RecordRejected) -> RecordError:
    """Return the error of the record that a rejected row was made from.

    Raises Fatal for many rows of a history in one record: no policy is meant to drop them all.
    """
    assert failure.row is not None
    out, place = failure.row
    if is_packed(out.rows[place]):
        raise Fatal(
            f"{failure}. It has many rows of a history: let its topic take records of 1 MB (max.message.bytes), and "
            "the producer, too (message.max.bytes)"
        ) from failure
    error = RecordError(out.step, place, out.records[place], [], doing="write")
    error.__cause__ = failure
    return error


def _of_state(failure: RecordRejected, task: Task) -> RecordError | None:
    """Return the error of the only record of the last run, if its state change was rejected."""
    stores = {topic: store for store, topic in task.subtopology.changelogs.items()}
    if len(task.taken) != 1 or failure.topic not in stores:
        return None
    name, part = stores[failure.topic], task.subtopology
    step = next(
        node.name
        for node in part.nodes
        for state in node.stores
        if part.kept.get(state.spec.name, state.spec.name) == name
    )
    error = RecordError(step, 0, task.taken[0], [], doing="keep the state of")
    error.__cause__ = failure
    return error


def _content(out: Outgoing, row: Row) -> tuple[object, ...]:
    """Return the identity of a row: all that its rejection can depend on."""
    return (out.step, out.topic, *row[:3])
