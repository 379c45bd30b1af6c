"""Records of an outer side of a join that found no match yet, in the order in which they are given up.

    encoded key:    side (1 byte) + event time (8 bytes) + key        encoded value: msgpack of the values

When they come out is as Kafka Streams does it (`KStreamKStreamJoin`, `emitNonJoinedOuterRecords`), and that is a little
odd: it remembers a time, here `oldest`, before which it believes nothing waits, and looks only when that is old
enough; a look leaves it somewhere behind the first records that must wait on. In what order things wait is remembered
in memory as long as there are not too many, since with every record somebody may have to be looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeAlias

import msgspec
from sortedcontainers import SortedDict

from ...state.cache import Codec, StateCache
from ...state.keys import split_window_key, window_key
from ..graph.topology import StoreView
from ..serdes.base import Serde, is_exact

__all__ = ["LEFT", "NOTHING", "RIGHT", "Unmatched", "Waiting", "unmatched_codec", "unmatched_view"]

RIGHT, LEFT = 0, 1
"""The sides, in the order in which records of one time are given up."""

NOTHING = 1 << 62
"""The time that is remembered when nothing waits."""

SIDES = {RIGHT: b"\x00", LEFT: b"\x01"}
ENDS = {RIGHT: b"\x01", LEFT: b"\x02"}


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """Records of one side, time and key that wait for a match."""

    timestamp: int
    side: int
    key: Any


LISTED = 100_000
"""Slots of a task that are kept in order in memory: some 30 MB."""

Entry: TypeAlias = tuple[int, list[Any]]
"""The side, which says how the values are encoded, and the values as they came."""


class Unmatched:
    """What waits on both sides."""

    def __init__(
        self, cache: StateCache[Waiting, Entry], encode_key: Callable[[Waiting], bytes], listed: int = LISTED
    ) -> None:
        """Up to `listed` slots are kept in order in memory; with more, the store is asked."""
        self._cache = cache
        self._encode_key = encode_key
        self._listed = listed
        self._order: Listed | Scanned | None = None
        self.oldest = NOTHING
        """The time before which nothing is believed to wait."""

    def add(self, side: int, timestamp: int, key: Any, value: Any) -> None:
        """A record begins to wait."""
        slot = Waiting(timestamp, side, key)
        entry = self._cache[slot]
        if entry is None:
            self._ordered().add(slot)
        self._cache.put(slot, (side, [value] if entry is None else [*entry[1], value]))
        self.oldest = min(self.oldest, timestamp)

    def matched(self, side: int, timestamp: int, key: Any) -> None:
        """The records of this side, time and key have found a match."""
        slot = Waiting(timestamp, side, key)
        if self._cache[slot] is not None:
            self.keep(slot, [])

    def given_up(self, right_before: int, left_before: int) -> list[tuple[Waiting, Entry]]:
        """What waits and is older than the time for its side, in order."""
        order = self._ordered()
        slots = [*order.older(RIGHT, right_before), *order.older(LEFT, left_before)]
        slots.sort(key=_by_time)
        return [(slot, entry) for slot in slots if (entry := self._cache[slot]) is not None]

    def keep(self, slot: Waiting, values: list[Any]) -> None:
        """These values are what still waits in a slot."""
        if not values:
            self._ordered().remove(slot)
        self._cache.put(slot, (slot.side, values) if values else None)

    def looked(self, newest: int | None) -> None:
        """Remembers how far a look went, when what was to be given up is gone, the newest of it being this old."""
        order = self._ordered()
        right, left = order.first(RIGHT), order.first(LEFT)
        if right is not None and left is not None:
            self.oldest = self._after(order, max(right, left, key=_by_time))
            return
        times = [slot.timestamp for slot in (order.last(RIGHT), order.last(LEFT)) if slot is not None]
        times += [] if newest is None else [newest]
        self.oldest = max(times, default=NOTHING)
        if right is None and left is None:
            self._order = Listed(self._encode_key)

    def first_waits(self) -> None:
        """Remembers from when on something does wait. Where time goes by watermarks nothing is given up later than it
        can be, for steps downstream do not wait for it longer."""
        order = self._ordered()
        firsts = [slot.timestamp for slot in (order.first(RIGHT), order.first(LEFT)) if slot is not None]
        self.oldest = min(firsts, default=NOTHING)

    def _after(self, order: Listed | Scanned, seen: Waiting) -> int:
        """The time of the record that follows the first one of a slot, or of that one when none does."""
        entry = self._cache[seen]
        if entry is not None and len(entry[1]) > 1:
            return seen.timestamp
        others = order.first(LEFT, seen.timestamp) if seen.side == RIGHT else order.first(RIGHT, seen.timestamp + 1)
        following = order.following(seen), others
        return min((slot.timestamp for slot in following if slot is not None), default=seen.timestamp)

    def _ordered(self) -> Listed | Scanned:
        order = self._order
        if order is None:
            order = Listed(self._encode_key)
            for slot, _ in islice(self._cache.scan(b"", None), self._listed + 1):
                order.add(slot)
        if isinstance(order, Listed) and len(order) > self._listed:
            order = Scanned(self._cache, self._encode_key)
        self._order = order
        return order


class Listed:
    """The slots of both sides in order, in memory."""

    def __init__(self, encode_key: Callable[[Waiting], bytes]) -> None:
        self._encode_key = encode_key
        self._slots: tuple[SortedDict[bytes, Waiting], ...] = (SortedDict(), SortedDict())

    def __len__(self) -> int:
        return len(self._slots[RIGHT]) + len(self._slots[LEFT])

    def add(self, slot: Waiting) -> None:
        self._slots[slot.side][self._encode_key(slot)] = slot

    def remove(self, slot: Waiting) -> None:
        self._slots[slot.side].pop(self._encode_key(slot), None)

    def older(self, side: int, time: int) -> list[Waiting]:
        """The slots of a side before this time."""
        slots = self._slots[side]
        return list(islice(slots.values(), slots.bisect_left(_place(side, time))))

    def first(self, side: int, time: int = 0) -> Waiting | None:
        """The first slot of a side that is not older than this time."""
        return self._at(side, self._slots[side].bisect_left(_place(side, time)))

    def last(self, side: int) -> Waiting | None:
        """The last slot of a side."""
        return self._at(side, len(self._slots[side]) - 1)

    def following(self, slot: Waiting) -> Waiting | None:
        """The slot of the same side after this one."""
        return self._at(slot.side, self._slots[slot.side].bisect_right(self._encode_key(slot)))

    def _at(self, side: int, place: int) -> Waiting | None:
        slots = self._slots[side]
        return slots.peekitem(place)[1] if 0 <= place < len(slots) else None


class Scanned:
    """The same, asking the store."""

    def __init__(self, cache: StateCache[Waiting, Entry], encode_key: Callable[[Waiting], bytes]) -> None:
        self._cache = cache
        self._encode_key = encode_key
        self._front = [0, 0]  # nothing of the side is older: what is deleted at the front costs nothing

    def add(self, slot: Waiting) -> None:
        self._front[slot.side] = min(self._front[slot.side], slot.timestamp)

    def remove(self, slot: Waiting) -> None:
        """The store knows."""

    def older(self, side: int, time: int) -> list[Waiting]:
        return [slot for slot, _ in self._cache.scan(_place(side, self._front[side]), _place(side, time))]

    def first(self, side: int, time: int = 0) -> Waiting | None:
        found = self._next(side, _place(side, max(time, self._front[side])))
        if time <= self._front[side] and found is not None:
            self._front[side] = found.timestamp
        return found

    def last(self, side: int) -> Waiting | None:
        return next((slot for slot, _ in self._cache.scan(SIDES[side], ENDS[side], reverse=True)), None)

    def following(self, slot: Waiting) -> Waiting | None:
        return self._next(slot.side, self._encode_key(slot) + b"\x00")

    def _next(self, side: int, begin: bytes) -> Waiting | None:
        return next((slot for slot, _ in self._cache.scan(begin, ENDS[side])), None)


def _by_time(slot: Waiting) -> tuple[int, int]:
    return slot.timestamp, slot.side


def unmatched_codec(key: Serde[Any], left: Serde[Any], right: Serde[Any]) -> Codec[Waiting, Entry]:
    """How what waits is stored."""
    encode, decode = key.encode, key.decode
    encoders = {RIGHT: right.encode, LEFT: left.encode}
    decoders = {RIGHT: right.decode, LEFT: left.decode}

    def encode_key(slot: Waiting) -> bytes:
        return SIDES[slot.side] + window_key(slot.timestamp, encode(slot.key))

    def decode_key(data: bytes) -> Waiting:
        timestamp, inner = split_window_key(data[1:])
        return Waiting(timestamp, data[0], decode(inner))

    def encode_value(entry: Entry) -> bytes:
        side, values = entry
        return msgspec.msgpack.encode((side, list(map(encoders[side], values))))

    def decode_value(data: bytes) -> Entry:
        side, values = msgspec.msgpack.decode(data)
        return side, list(map(decoders[side], values))

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key))


def unmatched_view() -> StoreView:
    """People see the values that wait, by (event time, side, key); the side is "left" or "right"."""
    words = {RIGHT: "right", LEFT: "left"}
    sides = {word: side for side, word in words.items()}
    return StoreView(
        to_key=lambda place: Waiting(place[0], sides[place[1]], place[2]),
        from_key=lambda slot: (slot.timestamp, words[slot.side], slot.key),
        from_value=lambda entry: entry[1],
    )


def _place(side: int, timestamp: int) -> bytes:
    return SIDES[side] + window_key(max(timestamp, 0), b"")
