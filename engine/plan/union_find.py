"""Which things belong together, when all that is known is which two do."""

from __future__ import annotations

__all__ = ["Groups"]


class Groups:
    """Union-find."""

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
