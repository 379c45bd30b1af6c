"""Value and map state of a `Processor`: one value, or a mapping, per key.

Reads return copies of mutable values, and only `set` changes the state, so that a reader sees what it would see after a
restart. With a `ttl`, values expire that much event time after they were written.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from ...state.cache import Codec
from ...state.key_equality import PLAIN, all_plain
from ...state.keys import pack, prefix_range, unpack
from ..graph.store_loading import unknown_columns
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.auto import auto_key
from ..serdes.base import Serde, is_exact
from ..serdes.from_plain import from_plain
from ..stores.expiring import ExpiringStore, expiring_loading, expiring_view, slot_codec
from ..stores.loading import given_key
from ..time.durations import Duration
from .state import DeclaredState, Item

__all__ = ["MapState", "ValueState"]

K = TypeVar("K", default=Any)
V = TypeVar("V", default=Any)
T = TypeVar("T", default=Any)
S = TypeVar("S", default=Any)


class ValueState(DeclaredState, Generic[T]):
    """One value per key, declared as a class attribute of a `Processor`.

    Args:
        kind: The type of the value.
        default: What `get()` returns if the key has no value.
        ttl: The time to live of a value, in event time, from when it was set. Default: no limit.
        name: The name of the store. Default: `<step>-<attribute>`.

    Example:
        >>> class Spent(tm.Processor):
        ...     pieces = tm.ValueState(int, default=0, ttl="7d")
        ...     def process(self, order, ctx):
        ...         self.pieces.set(self.pieces.get() + order["pieces"])
        >>> spent = orders.process(Spent)
    """

    @overload
    def __init__(
        self: ValueState[S | None],
        kind: type[S],
        *,
        default: None = None,
        ttl: Duration | None = None,
        name: str | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: ValueState[S], kind: type[S], *, default: S, ttl: Duration | None = None, name: str | None = None
    ) -> None: ...
    def __init__(self, kind: Any, *, default: Any = None, ttl: Duration | None = None, name: str | None = None) -> None:
        super().__init__(ttl, name)
        self._item = Item(kind)
        self._default = default

    def holding(self) -> str:
        return self._item.word

    def get(self) -> T:
        """Return the value of the current key, or the default if there is none.

        Example:
            >>> class Last(tm.Processor):
            ...     item = tm.ValueState(str)
            ...     def process(self, order, ctx):
            ...         yield [self.item.get(), order["item"]]
            ...         self.item.set(order["item"])
            >>> pairs = orders.process(Last)
        """
        store, key = self._here()
        value = store.read(key)
        return self._item.copy(self._default) if value is None else self._item.read(value, store)

    def set(self, value: T) -> None:
        """Set the value of the current key.

        Args:
            value: The new value; None removes it, as `clear()` does.

        Raises:
            TypeError: The value is not of the declared type.

        Example:
            >>> class Last(tm.Processor):
            ...     item = tm.ValueState(str)
            ...     def process(self, order, ctx):
            ...         self.item.set(order["item"])
            >>> last = orders.process(Last)
        """
        store, key = self._here()
        store.write(key, None if value is None else self._item.taken(value, self._name))

    def clear(self) -> None:
        """Remove the value of the current key, so that `get()` returns the default again.

        Example:
            >>> class Total(tm.Processor):
            ...     pieces = tm.ValueState(int, default=0)
            ...     def process(self, order, ctx):
            ...         self.pieces.set(self.pieces.get() + order["pieces"])
            ...         if self.pieces.get() > 100:
            ...             self.pieces.clear()
            >>> totals = orders.process(Total)
        """
        store, key = self._here()
        store.write(key, None)

    def scan(self) -> Iterator[tuple[Any, T]]:
        """Iterate over (key, value) of the task's keys with a value, in the order of encoded keys.

        Example:
            >>> class Report(tm.Processor):
            ...     orders = tm.ValueState(int, default=0)
            ...     def process(self, order, ctx):
            ...         self.orders.set(self.orders.get() + 1)
            ...     @tm.every("1m")
            ...     def report(self, ctx):
            ...         for key, count in self.orders.scan():
            ...             yield tm.Record(key, f"{count} orders", ctx.timestamp)
            >>> reports = orders.process(Report)
        """
        read = self._item.read
        return ((key, read(value, store)) for store, key, value in self._everywhere())

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        return slot_codec(key, key.encode, key.decode, exact=is_exact(key))

    def view(self, key: Serde[Any]) -> StoreView:
        loaded = from_plain(key)

        def slot(row: StoreRow) -> Any:
            unknown_columns(row, ("expires",))
            return given_key(loaded, row)

        return expiring_view(loading=expiring_loading(key.encode, slot, self._item.loaded, self.ttl))


class MapState(DeclaredState, MutableMapping[K, V], Generic[K, V]):
    """A mapping per key, declared as a class attribute of a `Processor`.

    It has all methods of a `MutableMapping`. Entries are stored one by one, and iterated in the order of their encoded
    map keys.

    Args:
        kind: The type of the map keys.
        item: The type of the values; None cannot be stored.
        ttl: The time to live of an entry, in event time, from when it was set. Default: no limit.
        name: The name of the store. Default: `<step>-<attribute>`.

    Example:
        >>> class Basket(tm.Processor):
        ...     pieces = tm.MapState(str, int)
        ...     def process(self, order, ctx):
        ...         self.pieces[order["item"]] = self.pieces.get(order["item"], 0) + order["pieces"]
        ...         yield dict(self.pieces)
        >>> baskets = orders.process(Basket)
    """

    def __init__(self, kind: type[K], item: type[V], *, ttl: Duration | None = None, name: str | None = None) -> None:
        super().__init__(ttl, name)
        self._item_key = Item(kind)
        self._item = Item(item)

    def holding(self) -> str:
        return f"{self._item_key.word} to {self._item.word}"

    def __getitem__(self, key: K, /) -> V:
        store, slot = self._slot(key)
        value = store.read(slot)
        if value is None:
            raise KeyError(key)
        return self._item.read(value, store)

    def __setitem__(self, key: K, value: V, /) -> None:
        store, slot = self._slot(self._item_key.taken(key, self._name))
        if value is None:
            raise TypeError(f"map state {self._name!r} cannot hold None: delete the key instead")
        store.write(slot, self._item.taken(value, self._name))

    def __delitem__(self, key: K, /) -> None:
        store, slot = self._slot(key)
        if store.read(slot) is None:
            raise KeyError(key)
        store.write(slot, None)

    def __iter__(self) -> Iterator[K]:
        read, (store, _) = self._item_key.read, self._here()
        return iter([read(slot[1], store) for slot in self._slots()])

    def __len__(self) -> int:
        return len(self._slots())

    def __contains__(self, key: object, /) -> bool:
        store, slot = self._slot(key)
        return store.read(slot) is not None

    def clear(self) -> None:
        """Remove all entries of the current key.

        Example:
            >>> class Basket(tm.Processor):
            ...     pieces = tm.MapState(str, int)
            ...     def process(self, order, ctx):
            ...         self.pieces[order["item"]] = order["pieces"]
            ...         if len(self.pieces) == 10:
            ...             self.pieces.clear()
            >>> baskets = orders.process(Basket)
        """
        store, _ = self._here()
        for slot in self._slots():
            store.write(slot, None)

    def scan(self) -> Iterator[tuple[Any, K, V]]:
        """Iterate over (key, map key, value) of all keys of the task, in the order of encoded keys.

        Example:
            >>> class Report(tm.Processor):
            ...     pieces = tm.MapState(str, int)
            ...     def process(self, order, ctx):
            ...         self.pieces[order["item"]] = order["pieces"]
            ...     @tm.every("1m")
            ...     def report(self, ctx):
            ...         for key, item, pieces in self.pieces.scan():
            ...             yield tm.Record(key, f"{pieces} of {item}", ctx.timestamp)
            >>> reports = orders.process(Report)
        """
        read, read_key = self._item.read, self._item_key.read
        return ((outer, read_key(key, store), read(value, store)) for store, (outer, key), value in self._everywhere())

    def _slot(self, key: Any) -> tuple[ExpiringStore, tuple[Any, Any]]:
        """Return the store and the slot of a map key, which may be of any type."""
        store, outer = self._here()
        if key.__class__ not in PLAIN and not all_plain((key,)):
            store.cache.by_bytes()
        return store, (outer, key)

    def _slots(self) -> list[tuple[Any, Any]]:
        store, outer = self._here()
        return list(store.slots(*prefix_range(store.encode_key(outer))))

    def codec(self, key: Serde[Any]) -> Codec[Any, Any]:
        encode, decode = key.encode, key.decode

        def decode_slot(data: bytes) -> Any:
            outer, inner = unpack(data, bytes, bytes)
            return decode(outer), auto_key.decode(inner)

        def encode_slot(slot: Any) -> bytes:
            return pack(encode(slot[0]), auto_key.encode(slot[1]))

        return slot_codec(key, encode_slot, decode_slot, lambda slot: unpack(slot, bytes, bytes)[0], exact=False)

    def view(self, key: Serde[Any]) -> StoreView:
        loaded = from_plain(key)

        def slot(row: StoreRow) -> Any:
            unknown_columns(row, ("map_key", "expires"))
            if row.columns.get("map_key") is None:
                raise ValueError("it has no map_key")
            return given_key(loaded, row), self._item_key.loaded(row.columns["map_key"])

        loading = expiring_loading(lambda slot: key.encode(slot[0]), slot, self._item.loaded, self.ttl)
        return expiring_view(lambda slot: (slot[0], {"map_key": slot[1]}), loading=loading)
