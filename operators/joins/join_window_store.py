"""The join window store: the records of one side, by key and time, with dict lookups only.

Time is divided into buckets as long as the window, so a record is matched with at most two of them. The records of a
key in a bucket are in small chunks: the *open* chunk, which takes the next record, and *full* chunks, which no longer
change. A lookup needs no iterator, and a commit writes at most one chunk per record. The cache has a page per bucket:
nothing is looked up in the store for the newest ones, and expired buckets are deleted as a range.

    encoded key:    bucket start (8 bytes) + chunk number (8 bytes) + key; the open chunk has the number 0
    encoded value:  msgpack of the number of full chunks, times, values
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from ...state.codec import Codec, WindowCodec
from ...state.keys import numbered_key, split_window_key, unpack, window_key
from ...state.store import VERSION
from ...state.window_cache import WindowCache
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.base import Serde, column_encoder, is_exact
from ..stores.placements import placed
from ..time.join_windows import JoinWindow

__all__ = ["TIMES_KEY", "Chunk", "JoinWindowStore", "join_window_codec", "join_window_view"]

Place: TypeAlias = tuple[int, Any]
"""The number of a chunk and the key of its records."""
Slot: TypeAlias = tuple[int, Place]
"""The start of a bucket, and a place in it."""

TIMES_KEY: Final[Slot] = (-1, (0, None))
"""The key of the times of a join, in the store of the left side."""

CHUNK = 8
"""The number of records per chunk; a commit writes the whole chunk of each new record."""


class Chunk(msgspec.Struct, gc=False):
    """Records of one key, by time and then in order of arrival."""

    full: int
    """In an open chunk: the number of full chunks, which are numbered from 1."""
    times: list[int]
    values: list[Any]


class JoinWindowStore:
    """The records of one side that may still find a match."""

    __slots__ = ("_bucket", "_by_records", "_cache", "_edge", "_expired_before", "_window", "newest")

    def __init__(self, cache: WindowCache, window: JoinWindow, *, by_records: bool = True) -> None:
        """Expire records by the newest record of the side or, without `by_records`, by `reach`."""
        self._by_records = by_records
        self._cache = cache
        self._window = window
        self._bucket = window.bucket
        self._expired_before = 0  # buckets that start before this are deleted; the first scan begins at the front
        self.begin(-1)

    def begin(self, newest: int) -> None:
        """Set the newest time of this side: the largest event time, or the time last reached."""
        self.newest = newest
        self._edge = self._window.next_expiry(newest)

    def between(self, key: Any, first: int, last: int, *, late: bool) -> tuple[list[int], list[Any]]:
        """Return times and values of a key in [first, last], by time and then in order of arrival.

        A record that is `late`, that is older than the newest record of this side, does not see the oldest millisecond
        that is kept, as in Kafka Streams. Any other record sees all of its matches.
        """
        first = max(first, 0)
        if late:
            first = max(first, self._window.kept_from(self.newest) + 1)
        times: list[int] = []
        values: list[Any] = []
        opened = self._cache.opened
        mixed = False
        for start in range(first - first % self._bucket, last + 1, self._bucket):
            page = opened(start)
            if page is None:
                continue
            chunk = page.get((0, key)) if page.whole else page[0, key]
            if chunk is None:
                continue
            if chunk.full:
                mixed = True
                for number in range(1, chunk.full + 1):
                    self._take(page[number, key], first, last, times, values)
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
        """Store a record, and delete the buckets that have expired by its time."""
        if timestamp > self.newest:
            if self._by_records:
                self.newest = timestamp
                if timestamp >= self._edge:
                    self._expire()
        elif timestamp < self._window.kept_from(self.newest):
            return
        page = self._cache.page(timestamp - timestamp % self._bucket)
        place = (0, key)
        chunk = page.find(place)
        if chunk is None:
            chunk = Chunk(0, [timestamp], [value])
        elif len(chunk.times) >= CHUNK:
            full = chunk.full + 1
            page[full, key] = Chunk(0, chunk.times, chunk.values)
            page.mark((full, key))
            chunk = Chunk(full, [timestamp], [value])
        else:
            times = chunk.times
            index = bisect_right(times, timestamp)
            times.insert(index, timestamp)
            chunk.values.insert(index, value)
        page[place] = chunk
        page.mark(place)

    def reach(self, time: int) -> None:
        """Move time: from now on only records with this time or later look for matches."""
        if time - 1 > self.newest:
            self.newest = time - 1
            if self.newest >= self._edge:
                self._expire()

    def _expire(self) -> None:
        self._edge = self._window.next_expiry(self.newest)
        before = self._window.expired_before(self.newest)
        if before > self._expired_before:
            self._cache.forget(self._expired_before, before)
            self._expired_before = before


def join_window_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Slot, Any]:
    """Return the codec of one side; the times of the join are a tuple."""
    encode, decode = key.encode, key.decode
    encode_one, decode_one = value.encode, value.decode
    encode_column = column_encoder(key)
    packed = msgspec.msgpack.encode

    def encode_key(slot: Slot) -> bytes:
        start, (number, inner) = slot
        return numbered_key(start, number, b"" if start < 0 else encode(inner))

    def decode_key(data: bytes) -> Slot:
        start, number, inner = unpack(data, int, int, bytes)
        return TIMES_KEY if start < 0 else (start, (number, decode(inner)))

    def encode_place(place: Place) -> bytes:
        return window_key(place[0], encode(place[1]))

    def decode_place(data: bytes) -> Place:
        number, inner = split_window_key(data)
        return number, decode(inner)

    def encode_places(places: list[Place]) -> list[bytes]:
        keys: list[Any] = encode_column([key for _, key in places])
        return [window_key(number, key) for (number, _), key in zip(places, keys, strict=True)]

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is tuple:
            return packed(entry)
        return packed((entry.full, entry.times, [encode_one(value) for value in entry.values]))

    def encode_values(entries: list[Chunk]) -> list[bytes | None]:
        return [VERSION + packed((one.full, one.times, [encode_one(it) for it in one.values])) for one in entries]

    def decode_value(data: bytes) -> Any:
        entry = msgspec.msgpack.decode(data)
        if not isinstance(entry[1], list):
            return tuple(entry)
        full, times, values = entry
        return Chunk(full, times, [decode_one(value) for value in values])

    def key_of(data: bytes) -> bytes | None:
        start, _, inner = unpack(data, int, int, bytes)
        return None if start < 0 else inner

    windows = WindowCodec(TIMES_KEY[0], encode_place, decode_place, encode_places, encode_values)
    placement = placed(key, key_of, merged_times)
    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key), windows, placement=placement)


def merged_times(slot: Slot, entries: Sequence[Any]) -> Any:
    """Return the times of a join that takes over from several: the newest, the oldest waiting."""
    *times, waiting = zip(*entries, strict=True)
    return *map(max, times), min(waiting)


def join_window_view() -> StoreView:
    """Return the view for queries: records by (key, start of the bucket, number of the chunk)."""

    def rows(slot: Slot, chunk: Any) -> Iterator[StoreRow]:
        if slot[0] >= 0:
            for time, value in zip(chunk.times, chunk.values, strict=True):
                yield StoreRow(slot[1][1], value, time)

    return StoreView(
        to_key=lambda shown: (shown[1], (shown[2], shown[0])),
        from_key=lambda slot: (slot[1][1], slot[0], slot[1][0]),
        from_value=lambda chunk: list(zip(chunk.times, chunk.values, strict=True)),
        visible=lambda slot: slot[0] >= 0,
        rows=rows,
    )
