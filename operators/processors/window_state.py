"""State by key and event time: what a processor keeps of the last while, as in a window store of Kafka Streams.

Without a watermark the state has a time of its own: the newest timestamp that was ever put into it, by whatever key.
Behind a watermark its time is that of values with a time to live: what the watermark says, or the time of the record at
hand where that is newer. What is older than that by the retention or more is neither taken nor seen, and is deleted
little by little as that time goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic

from typing_extensions import TypeVar

from ...state.cache import Codec
from ...state.keys import pack, unpack
from ..serdes.base import Serde, is_exact
from ..stores.expiring import NEWEST, AtHand, Cache, Shelf, slot_codec
from ..time.durations import Duration
from ..time.event_time import LATEST
from .states import Item, State

__all__ = ["WindowState"]

T = TypeVar("T", default=Any)


class WindowState(State, Generic[T]):
    """For each key, values by timestamp, kept for `retention`."""

    _newest: Newest | None = None
    """The state's own time, None behind a watermark."""

    def __init__(self, kind: type[T], *, retention: Duration, name: str | None = None) -> None:
        super().__init__(retention, name, what="retention")
        self._item = Item(kind)

    def holding(self) -> str:
        return self._item.word

    def put(self, value: T | None, timestamp: int) -> None:
        """Keeps a value under the key at hand and a timestamp, in place of the one there; None deletes it.

        A timestamp that is older than the state's time by the retention or more is ignored.
        """
        if type(timestamp) is not int or not 0 <= timestamp <= LATEST:
            raise ValueError(
                f"window state {self._name!r}: {timestamp!r} is no time: that is an int of ms up to the year 9999"
            )
        shelf, key = self._here()
        item = None if value is None else self._item.taken(value, self._name)
        if self._newest is not None:
            self._newest.move(timestamp, shelf)
        until = timestamp + (self.ttl or 0)
        if until <= shelf.at_hand.state_time:
            return
        if item is None:
            shelf.write((key, timestamp), None)
        else:
            shelf.write_until((key, timestamp), item, until)

    def get(self, timestamp: int) -> T | None:
        """The value under the key at hand and this timestamp, None when there is none."""
        shelf, key = self._here()
        value = shelf.read((key, timestamp))
        return None if value is None else self._item.read(value, shelf)

    def fetch(self, since: int, until: int) -> list[tuple[int, T]]:
        """Timestamps and values under the key at hand from `since` to `until`, both included, the oldest first."""
        shelf, key = self._here()
        since = max(since, 0)
        if until < since:
            return []
        encoded, read = shelf.encode_key(key), self._item.read
        found = shelf.entries(pack(encoded, since), pack(encoded, until + 1))
        return [(slot[1], read(value, shelf)) for slot, value in found]

    def scan(self) -> Iterator[tuple[Any, int, T]]:
        """Every key of the task, timestamp and value, in the order of encoded keys."""
        read = self._item.read
        return ((key, timestamp, read(value, shelf)) for shelf, (key, timestamp), value in self._everywhere())

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        encode, decode = key.encode, key.decode

        def decode_slot(data: bytes) -> Any:
            outer, timestamp = unpack(data, bytes, int)
            return decode(outer), timestamp

        return slot_codec(lambda slot: pack(encode(slot[0]), slot[1]), decode_slot, exact=is_exact(key))

    def bind(self, shelf: Shelf, *, watermarked: bool) -> Any:
        if watermarked:
            return super().bind(shelf, watermarked=True)
        newest = Newest(shelf.cache, shelf.at_hand)
        at_work = super().bind(shelf.by(newest), watermarked=False)
        at_work._newest = newest
        return at_work

    def sweep(self, time: int) -> None:
        if self._newest is None:
            super().sweep(time)

    def expires_by(self, time: int) -> bool:
        return self._newest is None and super().expires_by(time)


class Newest:
    """The key at hand, and the newest timestamp put so far in place of the step's stream time."""

    def __init__(self, cache: Cache, at_hand: AtHand) -> None:
        self._cache = cache
        self._at_hand = at_hand

    @property
    def key(self) -> Any:
        return self._at_hand.key

    @property
    def state_time(self) -> int:
        time: int | None = self._cache[NEWEST]
        return -1 if time is None else time

    def move(self, time: int, shelf: Shelf) -> None:
        """Moves time, if it is newer, and deletes what has expired since it crossed the last grain."""
        before = self.state_time
        if time > before:
            shelf.write_plain(NEWEST, time)
            shelf.sweep_between(before, time)
