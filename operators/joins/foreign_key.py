"""A table joined with another by a key found in its rows: three steps, and what they say to each other.

    left rows ──▶ Subscribe ──Subscription, by foreign key──▶ Match ◀── right rows
        └───────▶ Resolve  ◀──Response, to the row's task───────┘

`Subscribe` tells the task of the right row who wants it, and withdraws what is not wanted any more. `Match` keeps the
right rows and who wants them; it answers each subscription once, and a change of a right row goes to all its
subscribers in the order of their keys. `Resolve` keeps the left rows and joins the answers with them. Left and right
change at the same time in different tasks, so an answer carries the version (a hash) of the left row that it is for,
and one for another version is dropped: the answer for the newer version is on its way. The shape, the hash and what is
sent when there is no right row are those of Kafka Streams.

Kafka Streams does not answer where it knows that there is no result to take back: when a row is new, or keeps its
foreign key, and has no right row. But a result may be there whose withdrawal was dropped as that of an older version.
So there is an answer here, a quiet one, which takes back a result if there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final

import msgspec

from ...state.cache import StateCache
from ...state.keys import prefix_range
from ..errors import cause_of, poison
from ..graph.operator import Operator
from ..record import Record, Update
from ..serdes.updates import told
from ..serdes.value_copies import Keeper, with_copies, with_copy

__all__ = ["CLEAR", "LOUD", "QUIET", "WITHDRAW", "Match", "Resolve", "Response", "Subscribe", "Subscription"]

Cache = StateCache[Any, Any]
Records = list[Record[Any, Any]]
Pairs = list[tuple[int, Record[Any, Any]]]
Function = Callable[[Any], Any]

WITHDRAW: Final = 0
"""The row does not want this right row any more; no answer."""
CLEAR: Final = 1
"""The same; the answer is that there is none."""
LOUD: Final = 2
"""The row wants this right row; if there is none, its result is taken back."""
QUIET: Final = 3
"""The same; but there can be no result unless something was overtaken."""


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """What a left row wants of a right row."""

    kind: int
    partition: int
    """Where the left row is."""
    version: bytes | None
    """The hash of the left row; None when it is deleted."""
    key: Any
    """The left row's key."""


class Response(msgspec.Struct, frozen=True, gc=False):
    """A right row, None for none, and for which version of a left row it is."""

    quiet: bool
    version: bytes | None
    row: Any
    partition: int = -1
    """Where the left row is; what it is for is done once the response has arrived."""


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A left row and its result."""

    time: int
    """Of the result."""
    result: Any
    version: bytes | None
    row: Any


NOTHING: Final = Resolved(-1, None, None, None)


def version_of(row: Any, encode: Callable[[Any], bytes]) -> bytes:
    """A hash of a row."""
    return blake2b(encode(row), digest_size=16).digest()


class Subscribe(Operator):
    """From updates of left rows to subscriptions, keyed by foreign key."""

    def __init__(
        self,
        step: str,
        foreign_key: Function,
        encode_foreign: Callable[[Any], bytes],
        encode_row: Callable[[Any], bytes],
        *,
        left: bool,
    ) -> None:
        self._step = step
        self._foreign_key = with_copy(foreign_key)
        self._encode_foreign = encode_foreign
        self._encode_row = encode_row
        self._left = left
        self._partition = 0
        self.drops = {"null foreign key": 0}

    def placed(self, partition: int) -> None:
        """Says which partition the rows are of."""
        self._partition = partition

    def process(self, records: Records, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            for record in rest:
                self._one(record, done)
        except Exception as error:
            raise poison(self._step, records, rest, done) from error
        return done

    def _one(self, record: Record[Any, Any], done: Records) -> None:
        old, new = record.value.old, record.value.new
        before = told(self._foreign_key, old)
        if new is None:
            if before is not None:
                self._send(record, before, WITHDRAW if self._left else CLEAR, None, done)
            return
        try:
            after = self._foreign_key(new)
            version = version_of(new, self._encode_row)
            moved = before is None or after is None or self._encode_foreign(before) != self._encode_foreign(after)
        except Exception:
            if before is not None:
                self._send(record, before, WITHDRAW if self._left else CLEAR, None, done)
            raise
        if after is None:
            if not self._left:
                self.drops["null foreign key"] += 1
            if before is not None:
                self._send(record, before, WITHDRAW if self._left else CLEAR, version, done)
        else:
            if before is not None and moved:
                self._send(record, before, WITHDRAW, version, done)
            loud = self._left or (before is not None and moved)
            self._send(record, after, LOUD if loud else QUIET, version, done)

    def _send(self, record: Record[Any, Any], foreign: Any, kind: int, version: bytes | None, done: Records) -> None:
        wanted = Subscription(kind, self._partition, version, record.key)
        done.append(Record(foreign, wanted, record.timestamp, record.headers, record.offset))


class Match(Operator):
    """Answers subscriptions, input 0, with right rows, input 1."""

    def __init__(self, step: str, subscribers: Cache, rows: Cache, encode_foreign: Callable[[Any], bytes]) -> None:
        self._step = step
        subscribers.by_bytes()  # left keys come within values, so nobody has looked at what kind they are
        self._subscribers = subscribers
        self._rows = rows
        self.misses = 0
        """Left rows that found no right row when they came."""
        self._encode_foreign = encode_foreign

    def process(self, records: Pairs, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            for slot, record in rest:
                if slot == 0:
                    self._answer(record, done)
                else:
                    self._tell(record, done)
        except Exception as error:
            failure = poison(self._step, [record for _, record in records], rest, done)
            raise failure from cause_of(failure, error)
        return done

    def _answer(self, record: Record[Any, Any], done: Records) -> None:
        wanted: Subscription = record.value
        place = record.key, wanted.key
        if wanted.kind in (WITHDRAW, CLEAR):
            self._subscribers.put(place, None)
            if wanted.kind == WITHDRAW:
                return
        else:
            self._subscribers.put(place, (wanted.version, wanted.partition))
        entry = self._rows[record.key]
        time = record.timestamp if entry is None else max(record.timestamp, entry[0])
        row = None if entry is None or wanted.kind == CLEAR else entry[1]
        if entry is None:
            self.misses += 1
        response = Response(wanted.kind == QUIET, wanted.version, row, wanted.partition)
        done.append(Record(wanted.key, response, time, record.headers, record.offset))

    def _tell(self, record: Record[Any, Any], done: Records) -> None:
        row = record.value
        self._rows.put(record.key, None if row is None else (record.timestamp, row))
        for (_, key), (version, partition) in self._subscribers.scan(*prefix_range(self._encode_foreign(record.key))):
            response = Response(False, version, row, partition)
            done.append(Record(key, response, record.timestamp, record.headers, record.offset))


class Resolve(Operator):
    """Joins left rows, input 0, with the responses for them, input 1."""

    def __init__(
        self,
        step: str,
        cache: Cache,
        foreign_key: Function,
        function: Callable[[Any, Any], Any],
        encode_row: Callable[[Any], bytes],
        kept: Keeper,
        *,
        left: bool,
        updates: bool,
    ) -> None:
        self._step = step
        self._cache = cache
        self._foreign_key = with_copy(foreign_key)
        self._function = with_copies(function)
        self._encode_row = encode_row
        self._left = left
        self._updates = updates
        self._kept = kept

    def process(self, records: Pairs, now: int) -> Records:
        done: Records = []
        rest = iter(records)
        try:
            for slot, record in rest:
                if slot == 0:
                    self._changed(record, done)
                else:
                    self._answered(record, done)
        except Exception as error:
            failure = poison(self._step, [record for _, record in records], rest, done)
            raise failure from cause_of(failure, error)
        return done

    def _changed(self, record: Record[Any, Any], done: Records) -> None:
        """A left row has changed. Unless a right row was asked for, the result is known at once."""
        before: Resolved = self._cache[record.key] or NOTHING
        row = record.value
        foreign = version = None
        if row is not None:
            try:
                foreign, version = self._foreign_key(row), version_of(row, self._encode_row)
            except Exception:  # it is `Subscribe` that reports it; the row takes no part
                row = foreign = version = None
        time, result, failure = before.time, before.result, None
        settled = foreign is None and (
            (row is not None or before.row is not None)
            if self._left
            else before.result is not None and (before.row is None or told(self._foreign_key, before.row) is None)
        )
        if settled:
            time = record.timestamp
            result, failure = self._result(row, None)
        self._put(record, before, Resolved(time, result, version, row))
        if settled and (failure is None or before.result is not None):
            self._send(record, before, result, done)
        if failure is not None:
            raise failure

    def _answered(self, record: Record[Any, Any], done: Records) -> None:
        before: Resolved = self._cache[record.key] or NOTHING
        response: Response = record.value
        if response.version != before.version:
            return
        row = before.row
        result, failure = self._result(row, response.row)
        nothing = failure is not None or row is None or (response.row is None and not self._left)
        if not (nothing and before.result is None and (response.quiet or failure is not None)):
            self._put(record, before, Resolved(record.timestamp, result, before.version, row))
            self._send(record, before, result, done)
        if failure is not None:
            raise failure

    def _result(self, row: Any, right: Any) -> tuple[Any, Exception | None]:
        """The joined row, None when there is none, and why the function failed or its result cannot be kept."""
        if row is None or (right is None and not self._left):
            return None, None
        try:
            result = self._function(row, right)
            self._kept.check(result)
            return result, None
        except Exception as error:
            return None, error

    def _put(self, record: Record[Any, Any], before: Resolved, after: Resolved) -> None:
        there = after.row is not None or after.result is not None
        if there or before is not NOTHING:
            self._cache.put(record.key, after if there else None)

    def _send(self, record: Record[Any, Any], before: Resolved, result: Any, done: Records) -> None:
        value = Update(before.result, result) if self._updates else result
        done.append(Record(record.key, value, record.timestamp, record.headers, record.offset))
