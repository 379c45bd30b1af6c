"""Records of an outer side of a join that found no match yet, in the order in which they are given up.

    encoded key:    side (1 byte) + event time (8 bytes) + key        encoded value: msgpack of the values

When they come out is as Kafka Streams does it (`KStreamKStreamJoin`, `emitNonJoinedOuterRecords`), and that is a little
odd: it remembers a time, here `oldest`, before which it believes nothing waits, and looks only when that is old
enough; a look leaves it somewhere behind the first records that must wait on.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ..state.cache import Codec, StateCache
from ..state.keys import split_window_key, window_key
from .serde import Serde
from .topology import StoreView

__all__ = ["LEFT", "NOTHING", "RIGHT", "Unmatched", "Waiting", "unmatched_codec", "unmatched_view"]

RIGHT, LEFT = 0, 1
"""The sides, in the order in which records of one time are given up."""

NOTHING = 1 << 62
"""The time that is remembered when nothing waits."""

SIDES = {RIGHT: b"\x00", LEFT: b"\x01"}
ENDS = {RIGHT: b"\x01", LEFT: b"\x02"}


class Waiting(NamedTuple):
    """Records of one side, time and key that wait for a match."""

    timestamp: int
    side: int
    key: Any


Entry: TypeAlias = tuple[int, list[Any]]
"""The side, which says how the values are encoded, and the values as they came."""


class Unmatched:
    """What waits on both sides."""

    def __init__(self, cache: StateCache[Waiting, Entry], encode_key: Callable[[Waiting], bytes]) -> None:
        self._cache = cache
        self._encode_key = encode_key
        self._front = [0, 0]  # nothing of the side is older
        self.oldest = NOTHING
        """The time before which nothing is believed to wait."""

    def add(self, side: int, timestamp: int, key: Any, value: Any) -> None:
        """A record begins to wait."""
        slot = Waiting(timestamp, side, key)
        entry = self._cache[slot]
        self._cache.put(slot, (side, [value] if entry is None else [*entry[1], value]))
        self._front[side] = min(self._front[side], timestamp)
        self.oldest = min(self.oldest, timestamp)

    def matched(self, side: int, timestamp: int, key: Any) -> None:
        """The records of this side, time and key have found a match."""
        slot = Waiting(timestamp, side, key)
        if self._cache[slot] is not None:
            self._cache.delete(slot)

    def given_up(self, right_before: int, left_before: int) -> list[tuple[Waiting, Entry]]:
        """What waits and is older than the time for its side, in order."""
        found: list[tuple[Waiting, Entry]] = []
        for side, before in ((RIGHT, right_before), (LEFT, left_before)):
            found += self._cache.scan(_place(side, self._front[side]), _place(side, before))
        found.sort(key=lambda item: item[0][:2])
        return found

    def keep(self, slot: Waiting, values: list[Any]) -> None:
        """These values are what still waits in a slot."""
        self._cache.put(slot, (slot.side, values) if values else None)

    def looked(self, newest: int | None, right_before: int, left_before: int) -> None:
        """Remembers how far a look went. What was older than these times is gone, the newest of it being this old."""
        self._front = [max(self._front[RIGHT], right_before), max(self._front[LEFT], left_before)]
        right, left = (self._next(side, _place(side, self._front[side])) for side in (RIGHT, LEFT))
        if right is not None and left is not None:
            self.oldest = self._after(max(right, left, key=lambda slot: slot[:2]))
            return
        times = [] if newest is None else [newest]
        for side, begin in SIDES.items():
            times += [slot.timestamp for slot, _ in islice(self._cache.scan(begin, ENDS[side], reverse=True), 1)]
        self.oldest = max(times, default=NOTHING)

    def _after(self, seen: Waiting) -> int:
        """The time of the record that follows the one seen, or of that one when none does."""
        other = _place(LEFT, seen.timestamp) if seen.side == RIGHT else _place(RIGHT, seen.timestamp + 1)
        following = self._next(seen.side, self._encode_key(seen) + b"\x00"), self._next(1 - seen.side, other)
        return min((slot.timestamp for slot in following if slot is not None), default=seen.timestamp)

    def _next(self, side: int, begin: bytes) -> Waiting | None:
        return next((slot for slot, _ in self._cache.scan(begin, ENDS[side])), None)


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

    return Codec(encode_key, decode_key, encode_value, decode_value)


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
