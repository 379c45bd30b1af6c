"""What a join of streams remembers of one side: records by key and time, found by dict look-ups alone.

Time is divided into buckets as long as the window, so a record looks into two of them. The records of a key in a bucket
are in chunks of a few: the *open* chunk, which takes the next record, and *full* ones, which do not change any more.
A look-up costs no iterator, a commit writes no more than a chunk for a record, and expired buckets are a range at the
front of the store.

    encoded key:    bucket start (8 bytes) + number of the chunk (8 bytes) + key; the open chunk has the number 0
    encoded value:  msgpack of how many full chunks there are, times, values
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any, Final, TypeAlias

import msgspec

from ...state.cache import Codec, StateCache
from ...state.keys import numbered_key, unpack, window_key
from ..graph.topology import StoreView
from ..serdes.base import Serde, is_exact
from ..time.join_windows import JoinWindow

__all__ = ["CLOCK", "Chunk", "Side", "side_codec", "side_view"]

Slot: TypeAlias = tuple[int, int, Any]

CLOCK: Final[Slot] = (-1, 0, None)
"""The key under which a join keeps its times in the store of the left."""

CHUNK = 8
"""Records a chunk: what a commit writes again for a record that comes into it."""


class Chunk(msgspec.Struct, gc=False):
    """Records of one key, by time and then as they came."""

    full: int
    """In an open chunk: how many full ones there are, with numbers from 1."""
    times: list[int]
    values: list[Any]


class Side:
    """The records of one side that may still be matched."""

    __slots__ = ("_bucket", "_by_records", "_cache", "_edge", "_swept", "_window", "newest")

    def __init__(self, cache: StateCache[Slot, Any], window: JoinWindow, *, by_records: bool = True) -> None:
        """What is of no more use is told by the newest record of the side, or, not `by_records`, by `reach` alone."""
        self._by_records = by_records
        self._cache = cache
        self._window = window
        self._bucket = window.bucket
        self._swept = 0  # buckets that start before this are gone; the first sweep begins at the front
        self.begin(-1)

    def begin(self, newest: int) -> None:
        """Takes up how far this side has come: the largest event time of its records, or what was last reached."""
        self.newest = newest
        self._edge = self._window.next_sweep(newest)

    def between(self, key: Any, first: int, last: int, *, late: bool) -> tuple[list[int], list[Any]]:
        """Times and values of the records of a key in [first, last], by time and then as they came.

        One that is `late`, that is older than the newest record of this side, does not see the oldest moment of what
        is kept, as in Kafka Streams. Any other sees all of its matches.
        """
        first = max(first, 0)
        if late:
            first = max(first, self._window.kept_from(self.newest) + 1)
        times: list[int] = []
        values: list[Any] = []
        cache = self._cache
        mixed = False
        for start in range(first - first % self._bucket, last + 1, self._bucket):
            chunk = cache[start, 0, key]
            if chunk is None:
                continue
            if chunk.full:
                mixed = True
                for number in range(1, chunk.full + 1):
                    self._take(cache[start, number, key], first, last, times, values)
            self._take(chunk, first, last, times, values)
        if mixed:
            order = sorted(range(len(times)), key=times.__getitem__)
            return [times[place] for place in order], [values[place] for place in order]
        return times, values

    @staticmethod
    def _take(chunk: Any, first: int, last: int, times: list[int], values: list[Any]) -> None:
        mine: list[int] = chunk.times
        if mine[0] >= first and mine[-1] <= last:
            times += mine
            values += chunk.values
            return
        lo, hi = bisect_left(mine, first), bisect_right(mine, last)
        times += mine[lo:hi]
        values += chunk.values[lo:hi]

    def add(self, key: Any, timestamp: int, value: Any) -> None:
        """Remembers a record, and forgets what its time makes useless."""
        if timestamp > self.newest:
            if self._by_records:
                self.newest = timestamp
                if timestamp >= self._edge:
                    self._sweep()
        elif timestamp < self._window.kept_from(self.newest):
            return
        start = timestamp - timestamp % self._bucket
        slot = (start, 0, key)
        cache = self._cache
        chunk = cache[slot]
        if chunk is None:
            chunk = Chunk(0, [timestamp], [value])
        elif len(chunk.times) >= CHUNK:
            full = chunk.full + 1
            cache.put((start, full, key), Chunk(0, chunk.times, chunk.values))
            chunk = Chunk(full, [timestamp], [value])
        else:
            times = chunk.times
            place = bisect_right(times, timestamp)
            times.insert(place, timestamp)
            chunk.values.insert(place, value)
        cache[slot] = chunk
        cache.dirty_add(slot)

    def reach(self, time: int) -> None:
        """From now on only records of this time or newer look for matches."""
        if time - 1 > self.newest:
            self.newest = time - 1
            if self.newest >= self._edge:
                self._sweep()

    def _sweep(self) -> None:
        self._edge = self._window.next_sweep(self.newest)
        before = self._window.expired_before(self.newest)
        if before > self._swept:
            for slot, _ in self._cache.scan(window_key(self._swept, b""), window_key(before, b"")):
                self._cache.delete(slot)
            self._swept = before


def side_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Slot, Any]:
    """How a side is stored; the clock is a tuple of times."""
    encode, decode = key.encode, key.decode
    encode_one, decode_one = value.encode, value.decode

    def encode_key(slot: Slot) -> bytes:
        start, number, inner = slot
        return numbered_key(start, number, b"" if start < 0 else encode(inner))

    def decode_key(data: bytes) -> Slot:
        start, number, inner = unpack(data, int, int, bytes)
        return CLOCK if start < 0 else (start, number, decode(inner))

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is tuple:
            return msgspec.msgpack.encode(entry)
        return msgspec.msgpack.encode((entry.full, entry.times, [encode_one(value) for value in entry.values]))

    def decode_value(data: bytes) -> Any:
        entry = msgspec.msgpack.decode(data)
        if not isinstance(entry[1], list):
            return tuple(entry)
        full, times, values = entry
        return Chunk(full, times, [decode_one(value) for value in values])

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key))


def side_view() -> StoreView:
    """People see the records, by (key, start of the bucket, number of the chunk)."""
    return StoreView(
        to_key=lambda place: (place[1], place[2], place[0]),
        from_key=lambda slot: (slot[2], slot[0], slot[1]),
        from_value=lambda chunk: list(zip(chunk.times, chunk.values, strict=True)),
        visible=lambda slot: slot[0] >= 0,
    )
