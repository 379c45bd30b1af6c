"""Window state: values by key and event time, as in a window store of Kafka Streams.

Without a watermark the state has its own time: the largest timestamp that was put into it, of all keys. With a
watermark its time is that of values with a time to live: the watermark, or the time of the current record if that is
later. Values that are older than that time by the retention or more are neither accepted nor returned; they are deleted
in small steps as the time moves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic

from typing_extensions import TypeVar

from ...state.cache import Codec
from ...state.keys import pack
from ..graph.topology import StoreView
from ..serdes.base import Serde
from ..stores.expiring import NEWEST_TIME, Cache, CurrentKey, ExpiringStore, expiring_view, numbered_slot_codec
from ..time.durations import Duration
from ..time.event_time import LATEST
from .state import DeclaredState, Item

__all__ = ["WindowState"]

T = TypeVar("T", default=Any)


class WindowState(DeclaredState, Generic[T]):
    """Values per key and timestamp, declared as a class attribute of a `Processor`.

    Args:
        kind: The type of the values.
        retention: How long values are kept: until the newest timestamp in the state (with a watermark on the sources:
            the watermark, or the time of the record if that is newer) is that much later.
        name: The name of the store; without it, `<step>-<attribute>`.

    Example:
        >>> class Recent(tm.Processor):
        ...     pieces = tm.WindowState(int, retention="1h")
        ...     def process(self, order, ctx):
        ...         self.pieces.put(order["pieces"], ctx.timestamp)
        ...         yield sum(pieces for _, pieces in self.pieces.fetch(ctx.timestamp - 600_000, ctx.timestamp))
        >>> sums = orders.process(Recent)
    """

    _newest: Newest | None = None
    """The time of this state; None with a watermark."""

    def __init__(self, kind: type[T], *, retention: Duration, name: str | None = None) -> None:
        super().__init__(retention, name, what="retention")
        self._item = Item(kind)

    def holding(self) -> str:
        return self._item.word

    def put(self, value: T | None, timestamp: int) -> None:
        """Set the value of the current key at a timestamp.

        A timestamp that is older than the retention is ignored.

        Args:
            value: The value; None deletes it.
            timestamp: The timestamp, in milliseconds since 1970.

        Raises:
            ValueError: The timestamp is not an int of milliseconds up to the year 9999.

        Example:
            >>> class Keep(tm.Processor):
            ...     pieces = tm.WindowState(int, retention="1h")
            ...     def process(self, order, ctx):
            ...         self.pieces.put(order["pieces"], ctx.timestamp)
            >>> kept = orders.process(Keep)
        """
        if type(timestamp) is not int or not 0 <= timestamp <= LATEST:
            raise ValueError(
                f"window state {self._name!r}: {timestamp!r} is no time: that is an int of ms up to the year 9999"
            )
        store, key = self._here()
        item = None if value is None else self._item.taken(value, self._name)
        if self._newest is not None:
            self._newest.move(timestamp, store)
        until = timestamp + (self.ttl or 0)
        if until <= store.current.state_time:
            return
        if item is None:
            store.write((key, timestamp), None)
        else:
            store.write_until((key, timestamp), item, until)

    def get(self, timestamp: int) -> T | None:
        """Return the value of the current key at a timestamp, None if there is none.

        Args:
            timestamp: The timestamp, in milliseconds since 1970.

        Example:
            >>> class Again(tm.Processor):
            ...     pieces = tm.WindowState(int, retention="1h")
            ...     def process(self, order, ctx):
            ...         if self.pieces.get(ctx.timestamp) is not None:
            ...             yield "two orders at one time"
            ...         self.pieces.put(order["pieces"], ctx.timestamp)
            >>> again = orders.process(Again)
        """
        store, key = self._here()
        value = store.read((key, timestamp))
        return None if value is None else self._item.read(value, store)

    def fetch(self, since: int, until: int) -> list[tuple[int, T]]:
        """Return timestamps and values of the current key in a range, oldest first.

        Args:
            since: The first timestamp, in milliseconds since 1970, included.
            until: The last timestamp, included.

        Example:
            >>> class Recent(tm.Processor):
            ...     pieces = tm.WindowState(int, retention="1h")
            ...     def process(self, order, ctx):
            ...         self.pieces.put(order["pieces"], ctx.timestamp)
            ...         yield len(self.pieces.fetch(ctx.timestamp - 60_000, ctx.timestamp))
            >>> counts = orders.process(Recent)
        """
        store, key = self._here()
        since = max(since, 0)
        if until < since:
            return []
        encoded, read = store.encode_key(key), self._item.read
        found = store.entries(pack(encoded, since), pack(encoded, until + 1))
        return [(slot[1], read(value, store)) for slot, value in found]

    def scan(self) -> Iterator[tuple[Any, int, T]]:
        """Iterate over (key, timestamp, value) of all keys of the task, by their encoded keys.

        Example:
            >>> class Report(tm.Processor):
            ...     pieces = tm.WindowState(int, retention="1h")
            ...     def process(self, order, ctx):
            ...         self.pieces.put(order["pieces"], ctx.timestamp)
            ...     @tm.every("1m")
            ...     def report(self, ctx):
            ...         for key, timestamp, pieces in self.pieces.scan():
            ...             yield tm.Record(key, pieces, timestamp)
            >>> reports = orders.process(Report)
        """
        read = self._item.read
        return ((key, timestamp, read(value, store)) for store, (key, timestamp), value in self._everywhere())

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return numbered_slot_codec(key)

    def view(self, key: Serde[Any]) -> StoreView:
        return expiring_view(lambda slot: (slot[0], {"timestamp": slot[1]}))

    def bind(self, store: ExpiringStore, *, watermarked: bool) -> Any:
        if watermarked:
            return super().bind(store, watermarked=True)
        newest = Newest(store.cache, store.current)
        at_work = super().bind(store.by(newest), watermarked=False)
        at_work._newest = newest
        return at_work

    def expire(self, time: int) -> None:
        if self._newest is None:
            super().expire(time)

    def expires_by(self, time: int) -> bool:
        return self._newest is None and super().expires_by(time)


class Newest:
    """The current key, and the largest timestamp put so far in place of the step's stream time."""

    def __init__(self, cache: Cache, current: CurrentKey) -> None:
        self._cache = cache
        self._current = current

    @property
    def key(self) -> Any:
        return self._current.key

    @property
    def state_time(self) -> int:
        time: int | None = self._cache[NEWEST_TIME]
        return -1 if time is None else time

    def move(self, time: int, store: ExpiringStore) -> None:
        """Move time if this is later, and delete the values that have expired."""
        before = self.state_time
        if time > before:
            store.write_plain(NEWEST_TIME, time)
            store.expire_between(before, time)
