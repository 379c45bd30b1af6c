"""Entries on disk, on their way to the files of a savepoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...state.rocks import RocksMemory, RocksStore
from ...state.store import Change, Position

__all__ = ["MovedEntries"]

BATCH = 2_000


class MovedEntries:
    """Entries on disk, by store."""

    def __init__(self, path: Path, memory: RocksMemory) -> None:
        self._store = RocksStore(path, "reshard", "reshard", memory)
        self._new: list[Change] = []

    def add(self, store: str, key: bytes, stored: bytes) -> None:
        """Add an entry."""
        self._new.append(Change(store, key, stored))
        if len(self._new) >= BATCH:
            self._write()

    def scan(self, store: str) -> Iterator[tuple[bytes, bytes]]:
        """Return the entries of a store, in the order of their keys."""
        self._write()
        return self._store.scan(store, b"", None)

    def close(self) -> None:
        self._store.close()

    def _write(self) -> None:
        if self._new:
            self._store.apply(self._new, Position())
            self._new = []
