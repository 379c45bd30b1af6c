"""The join of two tables by key: how a change of either row changes the joined row.

The step stores both rows under the key, so it needs no lookups and no old rows from upstream. A joined row exists if
the rows that `how` requires exist; its event time is the larger of theirs. As in Kafka Streams, an inner join sends a
result, tombstones included, whenever the other row exists; an outer join does unless both sides have no row and had
none. If the function fails, the rows are stored nevertheless, and the joined row that was sent before is deleted.

    entry: (time of the result, time of the left row, left row, time of the right row, right row); a row that does
    not exist is None, its time -1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Final, Literal

from ...state.cache import Codec, StateCache
from ..graph.record_loop import RecordLoop, Records
from ..graph.topology import StoreView
from ..record import Record, Update
from ..serdes.base import Serde, is_exact
from ..serdes.updates import old_result
from ..serdes.value_copies import with_copies
from ..stores.placements import plain_placement

__all__ = ["How", "Joiner", "TableJoin", "joined_codec", "joined_values", "joined_view", "joined_with"]

How = Literal["inner", "left", "outer"]
Joiner = Callable[[Any, Any], Any]

EMPTY: Final = (-1, -1, None, -1, None)

_HEAD = Struct(">qqqI")


def joined_with(how: How, function: Joiner) -> Joiner:
    """Return the function from two rows, each of which may be None, to the joined row or None."""

    function = with_copies(function)

    def inner(left: Any, right: Any) -> Any:
        return None if left is None or right is None else function(left, right)

    def left(left: Any, right: Any) -> Any:
        return None if left is None else function(left, right)

    def outer(left: Any, right: Any) -> Any:
        return None if left is None and right is None else function(left, right)

    return {"inner": inner, "left": left, "outer": outer}[how]


class TableJoin(RecordLoop):
    """A join of two tables; input 0 is the left one."""

    def __init__(self, step: str, cache: StateCache[Any, Any], how: How, joined: Joiner, *, updates: bool) -> None:
        super().__init__(step)
        self._cache = cache
        self._joined = joined
        self._updates = updates
        self._needs_right = how == "inner"
        self._needs_left = how != "outer"
        self.drops = {"null key": 0}

    def _run(self, records: Iterator[tuple[int, Record[Any, Any]]], done: Records) -> None:
        for slot, record in records:
            if record.key is None:
                self.drops["null key"] += 1
            else:
                self.join(slot, record, done)

    def join(self, slot: int, record: Record[Any, Any], done: Records) -> None:
        """Process a record of one side."""
        if slot == 0:
            self._left(record, done)
        else:
            self._right(record, done)

    def _left(self, record: Record[Any, Any], done: Records) -> None:
        key, new = record.key, record.value
        entry = self._cache[key]
        _, _, old, right_time, right = entry or EMPTY
        silent = right is None and (self._needs_right or (old is None and new is None))
        time = max(record.timestamp, right_time)
        self._store_result(record, (time, record.timestamp, new, right_time, right), entry, silent, done)

    def _right(self, record: Record[Any, Any], done: Records) -> None:
        key, new = record.key, record.value
        entry = self._cache[key]
        _, left_time, left, _, old = entry or EMPTY
        silent = left is None and (self._needs_left or (old is None and new is None))
        time = max(record.timestamp, left_time)
        self._store_result(record, (time, left_time, left, record.timestamp, new), entry, silent, done)

    def _store_result(
        self, record: Record[Any, Any], after: tuple[Any, ...], before: Any, silent: bool, done: Records
    ) -> None:
        time, left_time, left, right_time, right = after
        if left is None:
            left_time = -1
        if right is None:
            right_time = -1
        kept = None if left is None and right is None else (time, left_time, left, right_time, right)
        self._cache.put(record.key, kept)
        if silent:
            return
        value = failure = None
        try:
            value = self._joined(left, right)
        except Exception as error:
            failure = error
        old = old_result(self._of_entry, before) if self._updates or failure is not None else None
        if failure is None or old is not None:
            sent = Update(old, value) if self._updates else value
            done.append(Record(record.key, sent, time, record.headers, record.offset))
        if failure is not None:
            raise failure

    def _of_entry(self, entry: tuple[Any, ...]) -> Any:
        return self._joined(entry[2], entry[4])


def joined_codec(key: Serde[Any], left: Serde[Any], right: Serde[Any]) -> Codec[Any, tuple[Any, ...]]:
    """Return the codec of entries under plain keys."""
    return Codec(key.encode, key.decode, *joined_values(left, right), is_exact(key), placement=plain_placement(key))


def joined_values(
    left: Serde[Any], right: Serde[Any]
) -> tuple[Callable[[tuple[Any, ...]], bytes], Callable[[bytes], tuple[Any, ...]]]:
    """Return the codec of entries: the times, the length of the left row, the rows."""

    def encode(entry: tuple[Any, ...]) -> bytes:
        time, left_time, left_row, right_time, right_row = entry
        first = b"" if left_row is None else left.encode(left_row)
        second = b"" if right_row is None else right.encode(right_row)
        return _HEAD.pack(time, left_time, right_time, len(first)) + first + second

    def decode(data: bytes) -> tuple[Any, ...]:
        time, left_time, right_time, length = _HEAD.unpack_from(data)
        middle = _HEAD.size + length
        left_row = None if left_time < 0 else left.decode(data[_HEAD.size : middle])
        right_row = None if right_time < 0 else right.decode(data[middle:])
        return time, left_time, left_row, right_time, right_row

    return encode, decode


def joined_view(joined: Joiner, visible: Callable[[Any], bool] = lambda key: True) -> StoreView:
    """Return the view for queries: the joined rows; there is none if the function fails."""

    def shown(entry: tuple[Any, ...]) -> Any:
        return old_result(lambda _: joined(entry[2], entry[4]), entry)

    return StoreView(from_value=shown, timestamp=lambda entry: entry[0], visible=visible)
