"""Aggregation of a table's rows by group: how a change affects the old and new group.

`Regroup` turns a change of a row into one update of its group if the group stays the same, and otherwise into one of
the group it leaves, then one of the group it enters. The group first subtracts the old row, then adds the new one, as
in Kafka Streams; one result is sent for each update. A row with the group None, or for which the function failed, is in
no group.

A row that the group cannot add is dropped, and the old row is subtracted nevertheless. With the next change, that
dropped row is the old row, and must not be subtracted. So each old row is first added once more as a test: if that
fails, it was never part of the group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ...state.cache import StateCache
from ..aggregates.aggregators import Aggregator
from ..aggregates.columns import columns_fold
from ..aggregates.fold import Fold, FoldLoop
from ..aggregates.keyed import KeyedFold
from ..errors import TopologyError
from ..graph.record_loop import RecordLoop, Records
from ..record import Record, Update
from ..serdes.updates import old_result

__all__ = ["GroupFold", "Regroup", "group_loop", "undoable_columns"]

Function = Callable[[Any], Any]

NOWHERE: Final = (None, None, None)
"""Group, value and encoded group of a row without a group."""


class Regroup(RecordLoop):
    """The step from updates of rows to updates of groups; `of` selects the grouped value."""

    def __init__(self, step: str, by: Function, of: Function | None, encode: Callable[[Any], bytes]) -> None:
        super().__init__(step)

        def part(row: Any) -> tuple[Any, Any, bytes | None]:
            group = by(row)
            if group is None:
                return NOWHERE
            value = row if of is None else of(row)
            return NOWHERE if value is None else (group, value, encode(group))

        self._part = part

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        part, emit = self._part, done.append
        for r in records:
            left, old, left_bytes = old_result(part, r.value.old) or NOWHERE
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
<signature>
    touched = cache.mark
    for record in records:
        key = record.key
        old = record.value.old
        new = record.value.new
        timestamp = record.timestamp
        before = entry = cache[key]
        if entry is None and new is None:
            continue
        failure = shown = None
        changed = False
        <open>
        if entry is not None and old is not None:
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


def group_loop(fold: Fold, *, updates: bool) -> FoldLoop:
    """Return the loop of a fold per group; `<save>` stores the slots, `<reset>` restores them."""
    slots = ", ".join(fold.slots)
    parts = {"save": (f"saved = ({slots},)",), "reset": (f"({slots},) = saved", *fold.begin)}
    return fold.loop("aggregate of groups", LOOP, parts, {}, show=True, updates=updates)


class GroupFold(KeyedFold):
    """A fold per group; `Regroup` has dropped the rows without a group."""

    def __init__(self, step: str, cache: StateCache[Any, Any], loop: FoldLoop) -> None:
        super().__init__(step, cache, loop)
        self.drops = {}


def undoable_columns(columns: Mapping[str, Aggregator[Any]]) -> Fold:
    """Return the fold of several columns; raise TopologyError for one that cannot subtract.

    Values that cannot be subtracted are rejected when they arrive. A sum counts its values here, so that it is 0 again
    when the last one leaves, without a rounding error.
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
                "subtract the value that a row had. Write aggregate(initial, adder, subtractor) with an accumulator "
                "that can (a dict of counts, say), or aggregate the stream of changes: table.to_stream().group_by(...)"
            )
    return fold
