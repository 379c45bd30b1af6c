"""Which record is to blame when Kafka refuses something, and how the work goes on without it.

A broker refuses a transaction, or a batch, and does not say whose record it was. So the work since the last commit is
done again in small cuts, each committed alone: what is right gets through, and the cut that is refused grows smaller,
until rows are delivered one by one and the record has a name. Then the policy of its step decides: stop, or leave out
what was refused and go on.

    closed --refused--> cuts of 64 records --refused--> of 8, row by row --refused--> of 1
       ^                     |
       '---- committed ------'      each commit doubles the cuts
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ...operators.record import Outgoing, Row
from ..errors import RecordError, Refused
from ..tasks.task import Task

__all__ = ["Inquiry", "Place", "of_row"]

WIDEST = 64
NARROWER = 8
ROW_BY_ROW = 8
"""The widest cut whose rows are delivered one by one."""
MOST_NAMED = 100
"""How often rows of one key and time may be refused in a row; a function that makes another one each time would go on
for ever."""

Place: TypeAlias = tuple[str, int, int]
"""Topic, partition and offset of an input record."""


class Inquiry:
    """The search for records that Kafka refuses."""

    def __init__(self) -> None:
        self._cut: int | None = None
        self._rows: set[tuple[object, ...]] = set()
        """What is not written any more."""
        self._named: dict[tuple[object, ...], int] = {}
        self.left_out: set[Place] = set()
        """Input records that are passed over, because the state that they lead to is refused."""

    @property
    def open(self) -> bool:
        """Whether work is done in small cuts, each to be committed alone."""
        return self._cut is not None

    @property
    def one_by_one(self) -> bool:
        """Whether rows are delivered one by one."""
        return self._cut is not None and self._cut <= ROW_BY_ROW

    def limit(self, most: int) -> int:
        """The most records of the next run, which may be `most` otherwise."""
        return most if self._cut is None else min(most, self._cut)

    def refused(self, failure: Refused, task: Task | None) -> None:
        """Kafka has refused something, and the work since the last commit will be undone. `task` is the one whose
        input it came of, None where it came of no input.

        Raises RecordError when it is known which record it was and the policy is to stop, and the failure itself when
        it cannot be found out.
        """
        if failure.row is not None and task is not None:
            self._name(failure, task)
        elif self._cut != 1:
            self._cut = WIDEST if self._cut is None else max(1, self._cut // NARROWER)
        elif task is None or (error := _of_state(failure, task)) is None:
            raise failure
        else:
            task.refuse(error)
            self.left_out.add((task.origin.topic, task.origin.partition, error.offset))

    def committed(self) -> None:
        """A cut has got through."""
        if self._cut is None:
            return
        self._cut *= 2
        if self._cut > WIDEST:
            self._cut = None
            self._rows.clear()
            self._named.clear()
            self.left_out.clear()

    def without(self, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """What is to be written, without the rows that were refused."""
        if not self._rows:
            return list(outgoing)
        kept: list[Outgoing] = []
        for out in outgoing:
            places = [place for place, row in enumerate(out.rows) if _content(out, row) not in self._rows]
            if places:
                records = [out.records[place] for place in places]
                kept.append(Outgoing(out.topic, [out.rows[place] for place in places], records, out.step))
        return kept

    def _name(self, failure: Refused, task: Task) -> None:
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


def of_row(failure: Refused) -> RecordError:
    """The error of the record that a refused row was made of."""
    assert failure.row is not None
    out, place = failure.row
    error = RecordError(out.step, place, out.records[place], [], doing="write")
    error.__cause__ = failure
    return error


def _of_state(failure: Refused, task: Task) -> RecordError | None:
    """The error of the one record of the last run, when it is the state that it led to that was refused."""
    stores = {topic: store for store, topic in task.part.changelogs.items()}
    if len(task.taken) != 1 or failure.topic not in stores:
        return None
    name = stores[failure.topic]
    step = next(node.name for node in task.part.nodes for state in node.stores if state.spec.name == name)
    error = RecordError(step, 0, task.taken[0], [], doing="keep the state of")
    error.__cause__ = failure
    return error


def _content(out: Outgoing, row: Row) -> tuple[object, ...]:
    """What makes a row this one: it is refused for nothing else."""
    return (out.step, out.topic, *row[:3])
