"""Stateless operators: filter, map, flat_map and similar ones.

Each is one loop over the batch. Functions get the value, `..._record` functions the record. A null value is a value
like any other here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ..graph.operator import Operator
from ..graph.output_checks import given_record
from ..graph.record_loop import RecordLoop, Records
from ..record import Record, Update
from ..serdes.updates import old_result
from ..time.event_time import LATEST, SECONDS, FromRecord, TimeFunction, check_times, in_seconds, milliseconds

__all__ = [
    "Filter",
    "FlatMap",
    "FlatMapRecord",
    "ForEach",
    "ForEachRecord",
    "Map",
    "MapRecord",
    "Merge",
    "Peek",
    "Split",
    "TableFilter",
    "TableMap",
    "TableToStream",
    "WithKey",
    "WithTimestamp",
]

Function = Callable[[Any], Any]

WHOLE: Final = frozenset({str, bytes})
"""Types of values that are iterable, but are single values."""


class StatelessOperator(RecordLoop):
    """A loop that calls a user function."""

    def __init__(self, step: str, function: Function) -> None:
        super().__init__(step)
        self._function = function


class Filter(StatelessOperator):
    """An operator that keeps the records with a value for which the function is true."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for record in records:
            if function(record.value):
                emit(record)


class Map(StatelessOperator):
    """An operator that replaces values."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for r in records:
            emit(Record(r.key, function(r.value), r.timestamp, r.headers, r.offset))


class FlatMap(StatelessOperator):
    """An operator that replaces a value by any number of values."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.extend
        for r in records:
            values = function(r.value) or ()
            if values.__class__ in WHOLE:
                raise TypeError(f"the function of .flat_map() returns several values, as a list, and {values!r} is one")
            emit([Record(r.key, value, r.timestamp, r.headers, r.offset) for value in values])


class WithKey(StatelessOperator):
    """An operator that replaces keys."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for r in records:
            emit(Record(function(r.value), r.value, r.timestamp, r.headers, r.offset))


class WithTimestamp(StatelessOperator):
    """An operator that replaces event times; drops records with the time None or a negative one."""

    def __init__(self, step: str, function: TimeFunction) -> None:
        self._whole = isinstance(function, FromRecord)
        super().__init__(step, function.function if isinstance(function, FromRecord) else function)
        self.drops = {"negative timestamp": 0}
        self.doubt: str | None = None

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, whole, emit = self._function, self._whole, done.append
        for r in records:
            time = function(r if whole else r.value)
            if time.__class__ is not int:
                time = milliseconds(time)
            if time < SECONDS.stop:
                if time < 0:
                    self.drops["negative timestamp"] += 1
                    continue
                if self.doubt is None:
                    self.doubt = in_seconds(time, "the timestamp function gave")
            if time > LATEST:
                check_times((time,))
            emit(Record(r.key, r.value, time, r.headers, r.offset))


class MapRecord(StatelessOperator):
    """An operator that replaces records; the offset remains that of the record that caused them."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for record in records:
            emit(given_record(function(record), record.offset, "the function"))


class FlatMapRecord(StatelessOperator):
    """An operator that replaces a record by any number of records."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.extend
        for record in records:
            emit([given_record(result, record.offset, "the function") for result in function(record) or ()])


class Peek(StatelessOperator):
    """An operator that calls a function with each value, and passes the records on."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for record in records:
            function(record.value)
            emit(record)


class ForEach(StatelessOperator):
    """An operator that calls a function with each value, and sends nothing."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function = self._function
        for record in records:
            function(record.value)


class ForEachRecord(StatelessOperator):
    """An operator that calls a function with each record, and sends nothing."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function = self._function
        for record in records:
            function(record)


class Merge(Operator):
    """Several streams as one: the task has already put their records in order."""

    def process(self, records: Records, now: int) -> Records:
        return records


class Split(RecordLoop):
    """An operator that sends each record to the port of the first predicate that is true.

    The last port, if there is one more, is for the rest.
    """

    def __init__(self, step: str, predicates: list[Function], *, rest: bool) -> None:
        super().__init__(step)
        self._predicates = predicates
        self._rest = rest

    def _no_results(self) -> list[Records]:
        return [[] for _ in range(len(self._predicates) + self._rest)]

    def _run(self, records: Iterator[Record[Any, Any]], done: list[Records]) -> None:
        ways = [(predicate, port.append) for predicate, port in zip(self._predicates, done, strict=False)]
        otherwise = done[-1].append if self._rest else None
        for record in records:
            value = record.value
            for predicate, send in ways:
                if predicate(value):
                    send(record)
                    break
            else:
                if otherwise is not None:
                    otherwise(record)


class TableToStream(Operator):
    """A table's updates as a stream of its current rows."""

    def process(self, records: Records, now: int) -> Records:
        return [Record(r.key, r.value.new, r.timestamp, r.headers, r.offset) for r in records]


class TableMap(StatelessOperator):
    """An operator that replaces rows, including the old rows of updates if needed.

    A deleted row stays deleted. If the function fails for a row, the previous result is deleted.
    """

    def __init__(self, step: str, function: Function, *, updates_in: bool, updates_out: bool) -> None:
        super().__init__(step, function)
        self._updates_in = updates_in
        self._updates_out = updates_out

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        updates_in, updates_out = self._updates_in, self._updates_out
        for r in records:
            new = r.value.new if updates_in else r.value
            try:
                value = None if new is None else function(new)
            except Exception:
                old = old_result(function, r.value.old) if updates_in else None
                if old is not None or not updates_in:
                    value = Update(old, None) if updates_out else None
                    emit(Record(r.key, value, r.timestamp, r.headers, r.offset))
                raise
            if updates_out:
                value = Update(old_result(function, r.value.old), value)
            emit(Record(r.key, value, r.timestamp, r.headers, r.offset))


class TableFilter(StatelessOperator):
    """An operator that keeps the rows for which the function is true, and deletes the others.

    Rows for which the function fails are deleted too. Nothing is sent for a row that did not exist before and does not
    now.
    """

    def __init__(self, step: str, function: Function, *, updates: bool) -> None:
        super().__init__(step, function)
        self._updates = updates

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit, updates = self._function, done.append, self._updates
        for record in records:
            old, new = record.value.old, record.value.new
            if not old_result(function, old):
                old = None
            failure = None
            try:
                if new is not None and not function(new):
                    new = None
            except Exception as error:
                failure, new = error, None
            if old is not None or new is not None:
                value = Update(old, new) if updates else new
                emit(Record(record.key, value, record.timestamp, record.headers, record.offset))
            if failure is not None:
                raise failure
