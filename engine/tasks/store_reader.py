"""A store as users see it, over all tasks that have a part of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ...operators.graph.topology import StoreView
from ...operators.serdes.hashable import hashable
from ...operators.serdes.value_copies import fresh
from ...state.cache import StateCache
from ...state.key_equality import all_plain

__all__ = ["StoreReader"]


class Entries(Protocol):
    """A part of a store."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def scan(self, lo: bytes, hi: bytes | None) -> Iterator[tuple[Any, Any]]: ...


class StoreReader:
    """The contents of a store over all tasks, as `TopologyDriver.store` returns it.

    Example:
        >>> counts = orders.group_by_key().count().named("counts")
        >>> with tm.testing.TopologyDriver(app) as driver:
        ...     driver.send("orders", key="ann", value={"item": "pen"}, timestamp=1)
        ...     len(driver.store("counts"))
        1
    """

    def __init__(self, parts: Sequence[Entries], view: StoreView) -> None:
        self._parts = parts
        self._view = view

    def get(self, key: Any, *, as_of: int | None = None) -> Any:
        """Return the value of a key, or None if there is none.

        Args:
            key: The key; `tm.Windowed(key, start, end)` for a store with windows.
            as_of: For a table with a `history`: the event time, in milliseconds since 1970, at which the value was
                valid.

        Raises:
            TypeError: `as_of` is given and the store has no history.

        Example:
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("customers", key="ann", value={"country": "DE"}, timestamp=1)
            ...     driver.store("customers").get("ann")
            {'country': 'DE'}
        """
        key, find = hashable(key), self._view.as_of
        if as_of is not None and find is None:
            raise TypeError("this store has no history, so as_of cannot be used")
        for entries in self._parts:
            cache: object = entries
            if isinstance(cache, StateCache) and not all_plain((key,)):
                cache.by_bytes()
            value: Any = entries[self._view.to_key(key)] if as_of is None or find is None else find(entries, key, as_of)
            if value is not None and (shown := self._shown(value)) is not None:
                return shown
        return None

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over all keys and values, ordered by encoded key within a task.

        Example:
            >>> with tm.testing.TopologyDriver(app) as driver:
            ...     driver.send("customers", key="ann", value={"country": "DE"}, timestamp=1)
            ...     dict(driver.store("customers").items())
            {'ann': {'country': 'DE'}}
        """
        for entries in self._parts:
            for key, value in entries.scan(b"", None):
                if self._view.visible(key) and (shown := self._shown(value)) is not None:
                    yield self._view.from_key(key), shown

    def _shown(self, value: Any) -> Any:
        """Return a value as users see it, as a separate object."""
        return fresh(self._view.from_value(value))

    def __len__(self) -> int:
        return sum(1 for _ in self.items())
