"""The outer-join buffer: records of an outer side without a match, in the order of emission.

    encoded key:    side (1 byte) + event time (8 bytes) + key        encoded value: msgpack of the values

Records are emitted when Kafka Streams emits them (`KStreamKStreamJoin`, `emitNonJoinedOuterRecords`). Its rule has a
peculiarity: it keeps a time, here `oldest`, before which it assumes that no record waits, and scans the buffer only
when that time has passed; a scan sets it to a time after the first records that still have to wait. The order of the
records is kept in memory up to a limit, since each record may need it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias

import msgspec
from sortedcontainers import SortedDict

from ...state.cache import Codec, StateCache
from ...state.keys import split_window_key, window_key
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.base import Serde, is_exact
from ..stores.placements import placed

__all__ = ["LEFT", "NOTHING", "RIGHT", "OuterJoinBuffer", "OuterJoinKey", "outer_join_codec", "outer_join_view"]

RIGHT, LEFT = 0, 1
"""The sides, in the order in which records of the same time are emitted."""

NOTHING = 1 << 62
"""The value of `oldest` if no record waits."""

SIDES = {RIGHT: b"\x00", LEFT: b"\x01"}
ENDS = {RIGHT: b"\x01", LEFT: b"\x02"}


class OuterJoinKey(msgspec.Struct, frozen=True, gc=False):
    """The cache key of the waiting records of one side, time and key."""

    timestamp: int
    side: int
    key: Any


LISTED = 100_000
"""The limit of slots per task that are ordered in memory: about 30 MB."""

OuterJoinEntry: TypeAlias = tuple[int, list[Any]]
"""The side, which decides the encoding of the values, and the values in order of arrival."""


class OuterJoinBuffer:
    """The waiting records of both sides."""

    def __init__(
        self,
        cache: StateCache[OuterJoinKey, OuterJoinEntry],
        encode_key: Callable[[OuterJoinKey], bytes],
        listed: int = LISTED,
    ) -> None:
        """Order up to `listed` slots in memory; with more, scan the store."""
        self._cache = cache
        self._encode_key = encode_key
        self._listed = listed
        self._order: InMemoryIndex | StoreIndex | None = None
        self.oldest = NOTHING
        """The time before which no record is assumed to wait."""

    def add(self, side: int, timestamp: int, key: Any, value: Any) -> None:
        """Add a record without a match."""
        slot = OuterJoinKey(timestamp, side, key)
        entry = self._cache[slot]
        if entry is None:
            self._ordered().add(slot)
        self._cache.put(slot, (side, [value] if entry is None else [*entry[1], value]))
        self.oldest = min(self.oldest, timestamp)

    def matched(self, side: int, timestamp: int, key: Any) -> None:
        """Remove the records of this side, time and key, which have found a match."""
        slot = OuterJoinKey(timestamp, side, key)
        if self._cache[slot] is not None:
            self.keep(slot, [])

    def given_up(self, right_before: int, left_before: int) -> list[tuple[OuterJoinKey, OuterJoinEntry]]:
        """Return the records that are older than the limit of their side, in order of emission."""
        order = self._ordered()
        slots = [*order.older(RIGHT, right_before), *order.older(LEFT, left_before)]
        slots.sort(key=_by_time)
        return [(slot, entry) for slot in slots if (entry := self._cache[slot]) is not None]

    def keep(self, slot: OuterJoinKey, values: list[Any]) -> None:
        """Replace the values that wait in a slot."""
        if not values:
            self._ordered().remove(slot)
        self._cache.put(slot, (slot.side, values) if values else None)

    def looked(self, newest: int | None) -> None:
        """Set `oldest` after a scan that emitted records up to the time `newest`."""
        order = self._ordered()
        right, left = order.first(RIGHT), order.first(LEFT)
        if right is not None and left is not None:
            self.oldest = self._after(order, max(right, left, key=_by_time))
            return
        times = [slot.timestamp for slot in (order.last(RIGHT), order.last(LEFT)) if slot is not None]
        times += [] if newest is None else [newest]
        self.oldest = max(times, default=NOTHING)
        if right is None and left is None:
            self._order = InMemoryIndex(self._encode_key)

    def first_waits(self) -> None:
        """Set `oldest` to the time of the first waiting record.

        With watermarks, records must be emitted as soon as they can be: steps downstream do not wait for them any
        longer.
        """
        order = self._ordered()
        firsts = [slot.timestamp for slot in (order.first(RIGHT), order.first(LEFT)) if slot is not None]
        self.oldest = min(firsts, default=NOTHING)

    def _after(self, order: InMemoryIndex | StoreIndex, seen: OuterJoinKey) -> int:
        """Return the time of the record after the first one of a slot, or else the slot's own time."""
        entry = self._cache[seen]
        if entry is not None and len(entry[1]) > 1:
            return seen.timestamp
        others = order.first(LEFT, seen.timestamp) if seen.side == RIGHT else order.first(RIGHT, seen.timestamp + 1)
        following = order.following(seen), others
        return min((slot.timestamp for slot in following if slot is not None), default=seen.timestamp)

    def _ordered(self) -> InMemoryIndex | StoreIndex:
        order = self._order
        if order is None:
            order = InMemoryIndex(self._encode_key)
            for slot, _ in islice(self._cache.scan(b"", None), self._listed + 1):
                order.add(slot)
        if isinstance(order, InMemoryIndex) and len(order) > self._listed:
            order = StoreIndex(self._cache, self._encode_key)
        self._order = order
        return order


class InMemoryIndex:
    """The ordered slots of both sides, in memory."""

    def __init__(self, encode_key: Callable[[OuterJoinKey], bytes]) -> None:
        self._encode_key = encode_key
        self._slots: tuple[SortedDict[bytes, OuterJoinKey], ...] = (SortedDict(), SortedDict())

    def __len__(self) -> int:
        return len(self._slots[RIGHT]) + len(self._slots[LEFT])

    def add(self, slot: OuterJoinKey) -> None:
        self._slots[slot.side][self._encode_key(slot)] = slot

    def remove(self, slot: OuterJoinKey) -> None:
        self._slots[slot.side].pop(self._encode_key(slot), None)

    def older(self, side: int, time: int) -> list[OuterJoinKey]:
        """Return the slots of a side before this time."""
        slots = self._slots[side]
        return list(islice(slots.values(), slots.bisect_left(_place(side, time))))

    def first(self, side: int, time: int = 0) -> OuterJoinKey | None:
        """Return the first slot of a side at or after this time."""
        return self._at(side, self._slots[side].bisect_left(_place(side, time)))

    def last(self, side: int) -> OuterJoinKey | None:
        """Return the last slot of a side."""
        return self._at(side, len(self._slots[side]) - 1)

    def following(self, slot: OuterJoinKey) -> OuterJoinKey | None:
        """Return the next slot of the same side."""
        return self._at(slot.side, self._slots[slot.side].bisect_right(self._encode_key(slot)))

    def _at(self, side: int, place: int) -> OuterJoinKey | None:
        slots = self._slots[side]
        return slots.peekitem(place)[1] if 0 <= place < len(slots) else None


class StoreIndex:
    """The ordered slots of both sides, read from the store."""

    def __init__(
        self, cache: StateCache[OuterJoinKey, OuterJoinEntry], encode_key: Callable[[OuterJoinKey], bytes]
    ) -> None:
        self._cache = cache
        self._encode_key = encode_key
        self._front = [0, 0]  # no slot of the side is older: scans skip the deleted entries at the front

    def add(self, slot: OuterJoinKey) -> None:
        self._front[slot.side] = min(self._front[slot.side], slot.timestamp)

    def remove(self, slot: OuterJoinKey) -> None:
        """Do nothing: the slot is deleted in the store."""

    def older(self, side: int, time: int) -> list[OuterJoinKey]:
        return [slot for slot, _ in self._cache.scan(_place(side, self._front[side]), _place(side, time))]

    def first(self, side: int, time: int = 0) -> OuterJoinKey | None:
        found = self._next(side, _place(side, max(time, self._front[side])))
        if time <= self._front[side] and found is not None:
            self._front[side] = found.timestamp
        return found

    def last(self, side: int) -> OuterJoinKey | None:
        return next((slot for slot, _ in self._cache.scan(SIDES[side], ENDS[side], reverse=True)), None)

    def following(self, slot: OuterJoinKey) -> OuterJoinKey | None:
        return self._next(slot.side, self._encode_key(slot) + b"\x00")

    def _next(self, side: int, begin: bytes) -> OuterJoinKey | None:
        return next((slot for slot, _ in self._cache.scan(begin, ENDS[side])), None)


def _by_time(slot: OuterJoinKey) -> tuple[int, int]:
    return slot.timestamp, slot.side


def outer_join_codec(key: Serde[Any], left: Serde[Any], right: Serde[Any]) -> Codec[OuterJoinKey, OuterJoinEntry]:
    """Return the codec of the outer-join buffer."""
    encode, decode = key.encode, key.decode
    encoders = {RIGHT: right.encode, LEFT: left.encode}
    decoders = {RIGHT: right.decode, LEFT: left.decode}

    def encode_key(slot: OuterJoinKey) -> bytes:
        return SIDES[slot.side] + window_key(slot.timestamp, encode(slot.key))

    def decode_key(data: bytes) -> OuterJoinKey:
        timestamp, inner = split_window_key(data[1:])
        return OuterJoinKey(timestamp, data[0], decode(inner))

    def encode_value(entry: OuterJoinEntry) -> bytes:
        side, values = entry
        return msgspec.msgpack.encode((side, list(map(encoders[side], values))))

    def decode_value(data: bytes) -> OuterJoinEntry:
        side, values = msgspec.msgpack.decode(data)
        return side, list(map(decoders[side], values))

    placement = placed(key, lambda data: split_window_key(data[1:])[1])
    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key), placement=placement)


def outer_join_view() -> StoreView:
    """Return the view for queries: values by (event time, "left" or "right", key)."""
    words = {RIGHT: "right", LEFT: "left"}
    sides = {word: side for side, word in words.items()}
    return StoreView(
        to_key=lambda place: OuterJoinKey(place[0], sides[place[1]], place[2]),
        from_key=lambda slot: (slot.timestamp, words[slot.side], slot.key),
        from_value=lambda entry: entry[1],
        rows=lambda slot, entry: [
            StoreRow(slot.key, value, slot.timestamp, {"side": words[slot.side]}) for value in entry[1]
        ],
    )


def _place(side: int, timestamp: int) -> bytes:
    return SIDES[side] + window_key(max(timestamp, 0), b"")
