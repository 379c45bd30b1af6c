"""Rows of a table grouped by something else than their key: what a changed row does to the groups it was and is in.

A change of a row becomes, on the way to the groups, one update of its group when that stays the same, and otherwise one
of the group it leaves, then one of the group it enters. At the group first the old row is taken back, then the new one
is taken up, as in Kafka Streams; one result is sent for each update. A row whose group is None, or for which the
function failed, is in no group.

A row that the group cannot take up is dropped, and what the row was is taken back all the same. So that it is not taken
back itself with the next change, an old row is first taken up once more, on trial: one that fails was never in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ...state.cache import StateCache
from ..aggregates.aggregators import Aggregator, columns_fold
from ..aggregates.fold import Fold, Loop
from ..errors import TopologyError, cause_of, poison
from ..graph.operator import Operator
from ..record import Record, Update
from ..serdes.updates import told

__all__ = ["GroupFold", "Regroup", "group_loop", "undoable_columns"]

Records = list[Record[Any, Any]]
Function = Callable[[Any], Any]

NOWHERE: Final = (None, None, None)
"""Group, value and encoded group of a row that is in no group."""


class Regroup(Operator):
    """From updates of rows to updates of groups, keyed by group; `of` chooses what of a row is grouped."""

    def __init__(self, step: str, by: Function, of: Function | None, encode: Callable[[Any], bytes]) -> None:
        self._step = step

        def part(row: Any) -> tuple[Any, Any, bytes | None]:
            group = by(row)
            if group is None:
                return NOWHERE
            value = row if of is None else of(row)
            return NOWHERE if value is None else (group, value, encode(group))

        self._part = part

    def process(self, records: Records, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            self._run(rest, done)
        except Exception as error:
            raise poison(self._step, records, rest, done) from error
        return done

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        part, emit = self._part, done.append
        for r in records:
            left, old, left_bytes = told(part, r.value.old) or NOWHERE
            failure = None
            try:
                entered, new, entered_bytes = NOWHERE if r.value.new is None else part(r.value.new)
            except Exception as error:
                failure = error
                entered, new, entered_bytes = NOWHERE
            if left_bytes == entered_bytes is not None:
                emit(Record(entered, Update(old, new), r.timestamp, r.headers, r.offset))
            else:
                if left_bytes is not None:
                    emit(Record(left, Update(old, None), r.timestamp, r.headers, r.offset))
                if entered_bytes is not None:
                    emit(Record(entered, Update(None, new), r.timestamp, r.headers, r.offset))
            if failure is not None:
                raise failure


LOOP = """\
def loop(records, cache, drops, emit):
    touched = cache.mark
    for record in records:
        key = record.key
        old = record.value.old
        new = record.value.new
        before = entry = cache[key]
        failure = None
        changed = False
        if entry is None:
            if new is None:
                continue
            <start>
            newest = record.timestamp
        else:
            <load>
            timestamp = record.timestamp
            if newest < timestamp:
                newest = timestamp
            if old is not None:
                value = old
                <save>
                try:
                    <update>
                    taken = True
                except Exception:
                    taken = False
                <reset>
                if taken:
                    try:
                        <undo>
                        changed = True
                    except Exception as error:
                        <reset>
                        failure = error
        if new is None:
            <show>
        else:
            value = new
            <save>
            try:
                <update>
                <show>
                changed = True
            except Exception as error:
                <reset>
                failure = error
                if changed:
                    <show>
        if changed or failure is None:
            cache[key] = <entry>
            touched(key)
            emit(Record(key, shown, newest, record.headers, record.offset))
        if failure is not None:
            raise failure
"""


def group_loop(fold: Fold, *, updates: bool) -> Loop:
    """The loop of a fold a group."""
    return fold.loop("aggregate of groups", LOOP, show=True, updates=updates, Record=Record)


class GroupFold(Operator):
    """A fold a group."""

    def __init__(self, step: str, cache: StateCache[Any, Any], loop: Loop) -> None:
        self._step = step
        self._cache = cache
        self._loop = loop
        self.drops: dict[str, int] = {}

    def process(self, records: Records, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            self._loop(rest, self._cache, self.drops, done.append)
        except Exception as error:
            failure = poison(self._step, records, rest, done)
            raise failure from cause_of(failure, error)
        return done


def undoable_columns(columns: Mapping[str, Aggregator[Any]]) -> Fold:
    """One fold for all columns of a row; raises TopologyError for a column that cannot take a value back.

    What cannot be subtracted is refused when it comes. A sum counts its values here, so that it is 0 again when the
    last one leaves, whatever was lost to rounding.
    """
    undoable: dict[str, Aggregator[Any]] = {}
    for name, column in columns.items():
        if isinstance(column, Aggregator) and column.kind in ("sum", "mean"):  # pyright: ignore[reportUnnecessaryIsInstance]
            column = replace(
                column,
                kind="sum of rows" if column.kind == "sum" else "mean",
                start=("0", "None"),
                update="{x} - {x}; {1} = {x} if {1} is None else {1} + {x}; {0} += 1",
                result="0 if {1} is None else {1}" if column.kind == "sum" else column.result,
                undo="{0} -= 1; {1} = {1} - {x} if {0} else None",
            )
        undoable[name] = column
    fold = columns_fold(undoable)
    for name, column in undoable.items():
        if column.undo is None:
            raise TopologyError(
                f"aggregate({name}=tm.{column.kind}(...)): the rows of a table change, and a {column.kind} cannot "
                "forget the value that a row had. Write aggregate(initial, adder, subtractor) with an accumulator that "
                "can (a dict of counts, say), or aggregate the stream of changes: table.to_stream().group_by(...)"
            )
    return fold
