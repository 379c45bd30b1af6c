"""Union-find: the groups of connected items, from pairs of them."""

from __future__ import annotations

__all__ = ["UnionFind"]


class UnionFind:
    """A union-find structure."""

    def __init__(self) -> None:
        self._parent: dict[object, object] = {}

    def add(self, item: object) -> None:
        self._parent.setdefault(item, item)

    def root(self, item: object) -> object:
        while self._parent[item] != item:
            item = self._parent[item]
        return item

    def join(self, one: object, other: object) -> None:
        self.add(other)
        self._parent[self.root(one)] = self.root(other)
