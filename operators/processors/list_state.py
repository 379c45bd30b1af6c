"""List state: a list per key, declared by a `Processor`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, Generic

from typing_extensions import TypeVar

from ...state.cache import Codec
from ..graph.topology import StoreView
from ..serdes.base import Serde
from ..stores.expiring import ExpiringStore, expiring_view, numbered_slot_codec
from ..time.durations import Duration
from .state import DeclaredState, Item

__all__ = ["ListState"]

T = TypeVar("T", default=Any)

ENDS: Final = -1
"""The sequence number of the entry with the begin and end of a list."""


class ListState(DeclaredState, Generic[T]):
    """A list per key, declared as a class attribute of a `Processor`.

    Items are stored one by one. Items are added at the end and removed from the beginning; `len`, iteration and reading
    by index work as for a list.

    Args:
        kind: The type of the items; None cannot be stored.
        ttl: The time to live of an item, in event time, from when it was added. Default: no limit.
        name: The name of the store. Default: `<step>-<attribute>`.

    Example:
        >>> class Recent(tm.Processor):
        ...     items = tm.ListState(str)
        ...     def process(self, order, ctx):
        ...         self.items.append(order["item"])
        ...         if len(self.items) > 3:
        ...             self.items.popleft()
        ...         yield list(self.items)
        >>> recent = orders.process(Recent)
    """

    def __init__(self, kind: type[T], *, ttl: Duration | None = None, name: str | None = None) -> None:
        super().__init__(ttl, name)
        self._item = Item(kind)

    def holding(self) -> str:
        return self._item.word

    def append(self, value: T) -> None:
        """Append an item to the list.

        Args:
            value: The item.

        Raises:
            TypeError: The item is None, or not of the declared type.

        Example:
            >>> class Recent(tm.Processor):
            ...     items = tm.ListState(str, ttl="1h")
            ...     def process(self, order, ctx):
            ...         self.items.append(order["item"])
            ...         yield list(self.items)
            >>> recent = orders.process(Recent)
        """
        if value is None:
            raise TypeError(f"list state {self._name!r} cannot hold None")
        store, key = self._here()
        begin, end = self._ends(store, key)
        store.write((key, end), self._item.taken(value, self._name), behind=(key, end - 1) if begin < end else None)
        store.write_plain((key, ENDS), (begin, end + 1))

    def extend(self, values: Iterable[T]) -> None:
        """Append several items to the list.

        Args:
            values: The items.

        Raises:
            TypeError: An item is None, or not of the declared type.

        Example:
            >>> class Letters(tm.Processor):
            ...     seen = tm.ListState(str)
            ...     def process(self, order, ctx):
            ...         self.seen.extend(order["item"])
            >>> letters = orders.process(Letters)
        """
        for value in values:
            self.append(value)

    def popleft(self) -> T:
        """Remove and return the first item.

        Raises:
            IndexError: The list is empty.

        Example:
            >>> class Previous(tm.Processor):
            ...     items = tm.ListState(str)
            ...     def process(self, order, ctx):
            ...         self.items.append(order["item"])
            ...         if len(self.items) > 1:
            ...             yield self.items.popleft()
            >>> previous = orders.process(Previous)
        """
        store, key = self._here()
        begin, end = self._ends(store, key)
        if begin == end:
            raise IndexError(f"list state {self._name!r} is empty")
        value: Any = self._item.read(store.read((key, begin)), store)
        self._drop(store, key, begin, begin + 1, end)
        return value

    def clear(self) -> None:
        """Remove all items of the current key.

        Example:
            >>> class Batch(tm.Processor):
            ...     items = tm.ListState(str)
            ...     def process(self, order, ctx):
            ...         self.items.append(order["item"])
            ...         if len(self.items) == 100:
            ...             yield list(self.items)
            ...             self.items.clear()
            >>> batches = orders.process(Batch)
        """
        store, key = self._here()
        begin, end = self._ends(store, key)
        self._drop(store, key, begin, end, end)

    def __iter__(self) -> Iterator[T]:
        store, key = self._here()
        read = self._item.read
        return iter([read(store.read((key, place)), store) for place in range(*self._ends(store, key))])

    def __len__(self) -> int:
        store, key = self._here()
        begin, end = self._ends(store, key)
        return end - begin

    def __getitem__(self, index: int, /) -> T:
        store, key = self._here()
        begin, end = self._ends(store, key)
        place = (begin if index >= 0 else end) + index
        if not begin <= place < end:
            raise IndexError(f"list state {self._name!r} has {end - begin} items, so there is none at {index}")
        return self._item.read(store.read((key, place)), store)

    def scan(self) -> Iterator[tuple[Any, T]]:
        """Iterate over (key, item) of all keys of the task, in the order of their encoded keys.

        Example:
            >>> class Report(tm.Processor):
            ...     items = tm.ListState(str)
            ...     def process(self, order, ctx):
            ...         self.items.append(order["item"])
            ...     @tm.every("1m")
            ...     def report(self, ctx):
            ...         for key, item in self.items.scan():
            ...             yield tm.Record(key, item, ctx.timestamp)
            >>> reports = orders.process(Report)
        """
        read = self._item.read
        return ((key, read(value, store)) for store, (key, place), value in self._everywhere() if place != ENDS)

    def expire(self, time: int) -> None:
        store = self._store
        if store is not None:
            for key, place in store.expire(time):
                begin, end = store.read((key, ENDS)) or (0, 0)
                store.write_plain((key, ENDS), (max(begin, place + 1), end) if place + 1 < end else None)

    @staticmethod
    def _ends(store: ExpiringStore, key: Any) -> tuple[int, int]:
        """Return the position of the first item and the position after the last."""
        begin, end = store.read((key, ENDS)) or (0, 0)
        while begin < end and store.read((key, begin)) is None:
            begin += 1
        return begin, end

    @staticmethod
    def _drop(store: ExpiringStore, key: Any, first: int, begin: int, end: int) -> None:
        """Remove the items from `first` to before `begin`, the new begin of the list."""
        for place in range(first, begin):
            store.write((key, place), None)
        store.write_plain((key, ENDS), (begin, end) if begin < end else None)

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return numbered_slot_codec(key)

    def view(self, key: Serde[Any]) -> StoreView:
        return expiring_view(lambda slot: (slot[0], {"position": slot[1]}), lambda slot: slot[1] != ENDS)
