"""Steps without state: filter, map, flat_map and their like.

Each is one loop over the batch inside one `try`. Functions get the value, `..._record` functions the record, and both
may be None-valued: a null value is a value like any other here. The iterator tells how far the loop came when a
function failed, so the loop keeps no count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from ..errors import poison
from ..graph.operator import Operator
from ..graph.output_checks import given_record
from ..record import Record, Update
from ..serdes.updates import told
from ..time.event_time import LATEST, SECONDS, FromRecord, TimeFunction, check_times, in_seconds, milliseconds

__all__ = [
    "Call",
    "CallRecord",
    "Each",
    "Filter",
    "FlatMap",
    "FlatMapRecord",
    "Map",
    "MapRecord",
    "Merge",
    "NewValues",
    "Split",
    "TableFilter",
    "TableMap",
    "WithKey",
    "WithTimestamp",
]

Records = list[Record[Any, Any]]
Function = Callable[[Any], Any]

WHOLE: Final = frozenset({str, bytes})
"""Classes of values that could be iterated over, but are one."""


class Loop(Operator):
    """A step that goes through the records once. Subclasses say what they add to `done` for each."""

    def __init__(self, step: str, function: Function) -> None:
        self._step = step
        self._function = function

    def process(self, records: Records, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            self._run(rest, done)
        except Exception as error:
            raise poison(self._step, records, rest, done) from error
        return done

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        raise NotImplementedError


class Filter(Loop):
    """Keeps the records whose value the function finds true."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for record in records:
            if function(record.value):
                emit(record)


class Map(Loop):
    """Replaces values."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for r in records:
            emit(Record(r.key, function(r.value), r.timestamp, r.headers, r.offset))


class FlatMap(Loop):
    """Replaces a value by any number of values."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.extend
        for r in records:
            values = function(r.value) or ()
            if values.__class__ in WHOLE:
                raise TypeError(f"the function of .flat_map() gives several values, as a list, and {values!r} is one")
            emit([Record(r.key, value, r.timestamp, r.headers, r.offset) for value in values])


class WithKey(Loop):
    """Replaces keys."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for r in records:
            emit(Record(function(r.value), r.value, r.timestamp, r.headers, r.offset))


class WithTimestamp(Loop):
    """Replaces event times. A record whose time is None or negative is dropped, as by a source."""

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


class MapRecord(Loop):
    """Replaces whole records; the offset stays that of the record that caused them."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for record in records:
            emit(given_record(function(record), record.offset, "the function"))


class FlatMapRecord(Loop):
    """Replaces a record by any number of records."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.extend
        for record in records:
            emit([given_record(result, record.offset, "the function") for result in function(record) or ()])


class Each(Loop):
    """Calls a function with each value, for its effect, and passes the records on."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit = self._function, done.append
        for record in records:
            function(record.value)
            emit(record)


class Call(Loop):
    """Calls a function with each value and passes nothing on."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function = self._function
        for record in records:
            function(record.value)


class CallRecord(Loop):
    """Calls a function with each record and passes nothing on."""

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function = self._function
        for record in records:
            function(record)


class Merge(Operator):
    """Several streams as one: the task has already put their records in order."""

    def process(self, records: Records, now: int) -> Records:
        return records


class Split(Operator):
    """Each record to the port of the first predicate that holds, the last port being for the rest, if there is one."""

    def __init__(self, step: str, predicates: list[Function], *, rest: bool) -> None:
        self._step = step
        self._predicates = predicates
        self._rest = rest

    def process(self, records: Records, now: int) -> list[Records]:
        ports: list[Records] = [[] for _ in range(len(self._predicates) + self._rest)]
        ways = [(predicate, port.append) for predicate, port in zip(self._predicates, ports, strict=False)]
        otherwise = ports[-1].append if self._rest else None
        rest = iter(records)
        try:
            for record in rest:
                value = record.value
                for predicate, send in ways:
                    if predicate(value):
                        send(record)
                        break
                else:
                    if otherwise is not None:
                        otherwise(record)
        except Exception as error:
            raise poison(self._step, records, rest, ports) from error
        return ports


class NewValues(Operator):
    """A table's updates as a stream of what the rows are now."""

    def process(self, records: Records, now: int) -> Records:
        return [Record(r.key, r.value.new, r.timestamp, r.headers, r.offset) for r in records]


class TableMap(Loop):
    """Replaces rows; where asked for, those that were as well as those that are. No row stays no row.

    A row for which the function fails is no row: what was there is taken back.
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
                old = told(function, r.value.old) if updates_in else None
                if old is not None or not updates_in:
                    value = Update(old, None) if updates_out else None
                    emit(Record(r.key, value, r.timestamp, r.headers, r.offset))
                raise
            if updates_out:
                value = Update(told(function, r.value.old), value)
            emit(Record(r.key, value, r.timestamp, r.headers, r.offset))


class TableFilter(Loop):
    """Rows for which the function holds; the others, and those for which it fails, are as if they were not there.

    Nothing is sent for a row that was not there before and is not now.
    """

    def __init__(self, step: str, function: Function, *, updates: bool) -> None:
        super().__init__(step, function)
        self._updates = updates

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        function, emit, updates = self._function, done.append, self._updates
        for record in records:
            old, new = record.value.old, record.value.new
            if not told(function, old):
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
