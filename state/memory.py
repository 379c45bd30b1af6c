"""A sorted store in memory, for tests and small state.

Tests use it as the model of `RocksStore`. Its content is lost when the process ends, so a task that uses it restores
from the beginning of its changelogs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any
from weakref import WeakSet

from sortedcontainers import SortedDict

from .store import Change, Position

__all__ = ["MemoryStore"]


class MemoryStore:
    """All in-memory stores of one task.

    A write during a scan goes to a copy, so that the scan sees the content as of its beginning.
    """

    def __init__(self) -> None:
        self._stores: dict[str, SortedDict[bytes, bytes]] = {}
        self._scans: dict[str, WeakSet[Iterator[Any]]] = {}
        self._position = Position()
        self._size = 0

    def get(self, store: str, key: bytes) -> bytes | None:
        content = self._stores.get(store)
        return None if content is None else content.get(key)

    def get_many(self, store: str, keys: list[bytes]) -> list[bytes | None]:
        content = self._stores.get(store)
        return [None] * len(keys) if content is None else [content.get(key) for key in keys]

    def scan(self, store: str, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[bytes, bytes]]:
        content = self._stores.get(store)
        if content is None or (hi is not None and hi <= lo):
            return iter(())
        pairs = _pairs(content, lo, hi, reverse)
        self._scans[store].add(pairs)
        return pairs

    def apply(self, changes: Iterable[Change], position: Position) -> None:
        for change in changes:
            content = self._writable(change.store)
            old = content.pop(change.key, None)
            if old is not None:
                self._size -= len(change.key) + len(old)
            if change.value is not None:
                content[change.key] = change.value
                self._size += len(change.key) + len(change.value)
        self._position = self._position.merge(position)

    def position(self) -> Position:
        return self._position

    def clear(self, store: str) -> None:
        content = self._stores.pop(store, None)
        if content is not None:
            self._size -= sum(len(key) + len(value) for key, value in content.items())
            del self._scans[store]
        self._position = self._position.without(store)

    def flush(self, wait: bool = True) -> None:
        """Do nothing: no content survives the process."""

    def set_loading(self, loading: bool) -> None:
        """Do nothing: it is always the same."""

    def size(self) -> int:
        return self._size

    def close(self) -> None:
        pass

    def _writable(self, store: str) -> SortedDict[bytes, bytes]:
        content = self._stores.get(store)
        if content is None:
            content = self._stores[store] = SortedDict()
            self._scans[store] = WeakSet()
        elif self._scans[store]:
            content = self._stores[store] = content.copy()
            self._scans[store] = WeakSet()
        return content


def _pairs(
    content: SortedDict[bytes, bytes], lo: bytes, hi: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    for key in content.irange(lo, hi, (True, False), reverse):
        yield key, content[key]
