"""Rows of a table grouped by something else than their key: what a changed row does to the groups it was and is in.

A change of a row becomes, on the way to the groups, one update of its group when that stays the same, and otherwise one
of the group it leaves, then one of the group it enters. At the group first the old row is taken back, then the new one
is taken up, as in Kafka Streams; one result is sent for each update. A row whose group is None, or for which the
function failed, is in no group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..state.cache import StateCache
from .aggregators import Aggregator, columns_fold
from .errors import TopologyError
from .fold import Fold, Loop
from .poison import cause_of, poison
from .record import Record, Update

__all__ = ["GroupFold", "Regroup", "group_loop", "undoable_columns"]

Records = list[Record[Any, Any]]
Function = Callable[[Any], Any]


class Regroup:
    """From updates of rows to updates of groups, keyed by group; `of` chooses what of a row is grouped."""

    def __init__(self, step: str, by: Function, of: Function | None, encode: Callable[[Any], bytes]) -> None:
        self._step = step
        self._encode = encode

        def part(row: Any) -> tuple[Any, Any]:
            group = by(row)
            return group, row if of is None or group is None else of(row)

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
        part, encode, emit = self._part, self._encode, done.append
        for r in records:
            old, new = r.value.old, r.value.new
            left = entered = None
            if old is not None:
                left, old = known(part, old)
            try:
                if new is not None:
                    entered, new = part(new)
            except Exception:
                if left is not None and old is not None:
                    emit(Record(left, Update(old, None), r.timestamp, r.headers, r.offset))
                raise
            leaves, enters = left is not None and old is not None, entered is not None and new is not None
            if leaves and enters and (left is entered or encode(left) == encode(entered)):
                emit(Record(entered, Update(old, new), r.timestamp, r.headers, r.offset))
                continue
            if enters:
                entering = Record(entered, Update(None, new), r.timestamp, r.headers, r.offset)
                if leaves:
                    done += (Record(left, Update(old, None), r.timestamp, r.headers, r.offset), entering)
                else:
                    emit(entering)
            elif leaves:
                emit(Record(left, Update(old, None), r.timestamp, r.headers, r.offset))


def known(part: Callable[[Any], tuple[Any, Any]], row: Any) -> tuple[Any, Any]:
    """The group that a row was in: none, if the function failed for it when it was new."""
    try:
        return part(row)
    except Exception:
        return None, None


LOOP = """\
def loop(records, cache, drops, emit):
    touched = cache.dirty_add
    for record in records:
        key = record.key
        old = record.value.old
        new = record.value.new
        before = entry = cache[key]
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
                <undo>
        if new is not None:
            value = new
            <update>
        <show>
        cache[key] = <entry>
        touched(key)
        emit(Record(key, shown, newest, record.headers, record.offset))
"""


def group_loop(fold: Fold, *, updates: bool) -> Loop:
    """The loop of a fold a group."""
    return fold.loop("aggregate of groups", LOOP, show=True, updates=updates, Record=Record)


class GroupFold:
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

    A sum counts its values here, so that it is 0 again when the last one leaves, whatever was lost to rounding.
    """
    undoable: dict[str, Aggregator[Any]] = {}
    for name, column in columns.items():
        if isinstance(column, Aggregator) and column.kind == "sum":  # pyright: ignore[reportUnnecessaryIsInstance]
            column = replace(
                column,
                kind="sum of rows",
                start=("0", "None"),
                update="{1} = {x} if {1} is None else {1} + {x}; {0} += 1",
                result="0 if {1} is None else {1}",
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
