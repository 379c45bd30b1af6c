"""The foreign-key join of two tables: three steps and the messages between them.

    left rows ──▶ Subscribe ──Subscription, by foreign key──▶ Match ◀── right rows
        └───────▶ Resolve  ◀──Response, to the row's task───────┘

`SubscriptionSend` subscribes each left row to its right row, in the task of the right row, and unsubscribes it when the
foreign key changes. `SubscriptionJoin` stores the subscribers of right rows, and the rows unless it can read them in
the store of their table. It responds to each subscription once, and sends each change of a right row to all its
subscribers in the order of their keys. `ResponseJoin` stores the left rows and joins them with the responses. Left and
right rows change concurrently in different tasks, so a response carries the version (a hash) of its left row. A
response for another version is dropped: the response for the newer version will follow. The structure, the hash and the
messages without a right row are those of Kafka Streams.

Kafka Streams sends no response if there can be no result to delete: if a left row is new, or keeps its foreign key, and
has no right row. But the deletion of an earlier result may have been dropped as a response for an older version. So
here a `quiet` response is sent, which deletes the result if there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import blake2b
from typing import Any, Final

import msgspec

from ...state.cache import StateCache
from ...state.keys import prefix_range
from ..graph.record_loop import RecordLoop, Records
from ..graph.topology import Rows
from ..record import Record, Update
from ..serdes.updates import old_result
from ..serdes.value_copies import Keeper, with_copies, with_copy

__all__ = [
    "DELETE_KEY_AND_PROPAGATE",
    "DELETE_KEY_NO_PROPAGATE",
    "PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE",
    "PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE",
    "ResponseJoin",
    "Subscription",
    "SubscriptionJoin",
    "SubscriptionResponse",
    "SubscriptionSend",
]

Cache = StateCache[Any, Any]
Function = Callable[[Any], Any]

DELETE_KEY_NO_PROPAGATE: Final = 0
"""Unsubscribe the left row, without a response."""
DELETE_KEY_AND_PROPAGATE: Final = 1
"""Unsubscribe the left row, and respond that there is no right row."""
PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE: Final = 2
"""Subscribe the left row; without a right row, its result is deleted."""
PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE: Final = 3
"""As above, but without a right row there is a result only if a response was dropped."""


class Subscription(msgspec.Struct, frozen=True, gc=False):
    """A subscription or unsubscription of a left row to a right row."""

    kind: int
    partition: int
    """The partition of the left row."""
    version: bytes | None
    """The hash of the left row; None if it is deleted."""
    key: Any
    """The key of the left row."""


class SubscriptionResponse(msgspec.Struct, frozen=True, gc=False):
    """A right row (None if there is none) for a version of a left row."""

    quiet: bool
    version: bytes | None
    row: Any
    partition: int = -1
    """The partition of the left row. It is not encoded: it only routes the response."""


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A left row and its result."""

    time: int
    """The timestamp of the result."""
    result: Any
    version: bytes | None
    row: Any


NOTHING: Final = Resolved(-1, None, None, None)


def version_of(row: Any, encode: Callable[[Any], bytes]) -> bytes:
    """Return the hash of a row."""
    return blake2b(encode(row), digest_size=16).digest()


class SubscriptionSend(RecordLoop):
    """The step that turns updates of left rows into subscriptions, keyed by foreign key."""

    def __init__(
        self,
        step: str,
        foreign_key: Function,
        encode_foreign: Callable[[Any], bytes],
        encode_row: Callable[[Any], bytes],
        *,
        left: bool,
    ) -> None:
        super().__init__(step)
        self._foreign_key = with_copy(foreign_key)
        self._encode_foreign = encode_foreign
        self._encode_row = encode_row
        self._left = left
        self._partition = 0
        self.drops = {"null foreign key": 0}

    def placed(self, partition: int) -> None:
        """Set the partition of the left rows."""
        self._partition = partition

    def _run(self, records: Iterator[Record[Any, Any]], done: Records) -> None:
        for record in records:
            self._one(record, done)

    def _one(self, record: Record[Any, Any], done: Records) -> None:
        old, new = record.value.old, record.value.new
        before = old_result(self._foreign_key, old)
        if new is None:
            if before is not None:
                self._send(
                    record, before, DELETE_KEY_NO_PROPAGATE if self._left else DELETE_KEY_AND_PROPAGATE, None, done
                )
            return
        try:
            after = self._foreign_key(new)
            version = version_of(new, self._encode_row)
            moved = before is None or after is None or self._encode_foreign(before) != self._encode_foreign(after)
        except Exception:
            if before is not None:
                self._send(
                    record, before, DELETE_KEY_NO_PROPAGATE if self._left else DELETE_KEY_AND_PROPAGATE, None, done
                )
            raise
        if after is None:
            if not self._left:
                self.drops["null foreign key"] += 1
            if before is not None:
                self._send(
                    record, before, DELETE_KEY_NO_PROPAGATE if self._left else DELETE_KEY_AND_PROPAGATE, version, done
                )
        else:
            if before is not None and moved:
                self._send(record, before, DELETE_KEY_NO_PROPAGATE, version, done)
            loud = self._left or (before is not None and moved)
            self._send(
                record,
                after,
                PROPAGATE_NULL_IF_NO_FK_VAL_AVAILABLE if loud else PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE,
                version,
                done,
            )

    def _send(self, record: Record[Any, Any], foreign: Any, kind: int, version: bytes | None, done: Records) -> None:
        wanted = Subscription(kind, self._partition, version, record.key)
        done.append(Record(foreign, wanted, record.timestamp, record.headers, record.offset))


class TwoInputLoop(RecordLoop):
    """A loop with one method per input."""

    def _run(self, records: Iterator[tuple[int, Record[Any, Any]]], done: Records) -> None:
        for slot, record in records:
            if slot == 0:
                self._first(record, done)
            else:
                self._second(record, done)

    def _first(self, record: Record[Any, Any], done: Records) -> None:
        """Process a record of input 0."""
        raise NotImplementedError

    def _second(self, record: Record[Any, Any], done: Records) -> None:
        """Process a record of input 1."""
        raise NotImplementedError


class SubscriptionJoin(TwoInputLoop):
    """The step that responds to subscriptions (input 0) with right rows (input 1)."""

    def __init__(
        self,
        step: str,
        subscribers: Cache,
        rows: Rows,
        row_of: Function,
        encode_foreign: Callable[[Any], bytes],
        *,
        own: Cache | None = None,
    ) -> None:
        """Create the step; `row_of` returns the row in an entry of `rows`, which may be its `own`."""
        super().__init__(step)
        subscribers.by_bytes()  # left keys arrive inside values, so their types have not been checked
        self._subscribers = subscribers
        self._rows = rows
        self._row_of = row_of
        self._own = own
        self.misses = 0
        """Left rows without a right row when they arrived."""
        self._encode_foreign = encode_foreign

    def _first(self, record: Record[Any, Any], done: Records) -> None:
        wanted: Subscription = record.value
        place = record.key, wanted.key
        if wanted.kind in (DELETE_KEY_NO_PROPAGATE, DELETE_KEY_AND_PROPAGATE):
            self._subscribers.put(place, None)
            if wanted.kind == DELETE_KEY_NO_PROPAGATE:
                return
        else:
            self._subscribers.put(place, (wanted.version, wanted.partition))
        entry = self._rows[record.key]
        time = record.timestamp if entry is None else max(record.timestamp, entry[0])
        row = None if entry is None or wanted.kind == DELETE_KEY_AND_PROPAGATE else self._row_of(entry)
        if entry is None:
            self.misses += 1
        response = SubscriptionResponse(
            wanted.kind == PROPAGATE_ONLY_IF_FK_VAL_AVAILABLE, wanted.version, row, wanted.partition
        )
        done.append(Record(wanted.key, response, time, record.headers, record.offset))

    def _second(self, record: Record[Any, Any], done: Records) -> None:
        row = record.value
        if self._own is not None:
            self._own.put(record.key, None if row is None else (record.timestamp, row))
        for (_, key), (version, partition) in self._subscribers.scan(*prefix_range(self._encode_foreign(record.key))):
            response = SubscriptionResponse(False, version, row, partition)
            done.append(Record(key, response, record.timestamp, record.headers, record.offset))


class ResponseJoin(TwoInputLoop):
    """The step that joins left rows (input 0) with the responses for them (input 1)."""

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
        super().__init__(step)
        self._cache = cache
        self._foreign_key = with_copy(foreign_key)
        self._function = with_copies(function)
        self._encode_row = encode_row
        self._left = left
        self._updates = updates
        self._kept = kept

    def _first(self, record: Record[Any, Any], done: Records) -> None:
        """Process a change of a left row; the result is known now unless a right row is requested."""
        before: Resolved = self._cache[record.key] or NOTHING
        row = record.value
        foreign = version = None
        if row is not None:
            try:
                foreign, version = self._foreign_key(row), version_of(row, self._encode_row)
            except Exception:  # `SubscriptionSend` reports the error; the row has no result
                row = foreign = version = None
        time, result, failure = before.time, before.result, None
        resolved = foreign is None and (
            (row is not None or before.row is not None)
            if self._left
            else before.result is not None and (before.row is None or old_result(self._foreign_key, before.row) is None)
        )
        if resolved:
            time = record.timestamp
            result, failure = self._result(row, None)
        self._put(record, before, Resolved(time, result, version, row))
        if resolved and (failure is None or before.result is not None):
            self._send(record, before, result, done)
        if failure is not None:
            raise failure

    def _second(self, record: Record[Any, Any], done: Records) -> None:
        before: Resolved = self._cache[record.key] or NOTHING
        response: SubscriptionResponse = record.value
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
        """Return the joined row or None, and the error of the function or of storing its result."""
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
