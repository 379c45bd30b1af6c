"""Changes of a commit in columns: per store one list of keys and one of values.

A commit has tens of thousands of changes, which are passed to a changelog and to a store unchanged: lists cost a
fraction of one object per change. Iteration yields `Change` objects.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from .store import Change

__all__ = ["Changes", "Column"]

Range = tuple[bytes, bytes]


@dataclass(slots=True)
class Column:
    """Changes of one store, in order; a value of None deletes its key.

    `ranges` (first key, end) are deleted before anything is written. They contain only the first `covered` keys, all of
    which are deletions: a store may delete the ranges and skip those keys, a changelog needs the keys.
    """

    store: str
    keys: list[bytes]
    values: list[bytes | None]
    ranges: tuple[Range, ...] = ()
    covered: int = 0

    def __iter__(self) -> Iterator[Change]:
        store = self.store
        return (Change(store, key, value) for key, value in zip(self.keys, self.values, strict=True))

    def __len__(self) -> int:
        return len(self.keys)


class Changes:
    """Changes of any number of stores."""

    __slots__ = ("columns",)

    def __init__(self, columns: Iterable[Column] = ()) -> None:
        self.columns = tuple(columns)
        """The columns in write order; a store may have several."""

    @staticmethod
    def of(changes: Iterable[Change]) -> Changes:
        """Return the changes in columns; the order within a store is kept."""
        if isinstance(changes, Changes):
            return changes
        columns: dict[str, Column] = {}
        for change in changes:
            column = columns.get(change.store)
            if column is None:
                column = columns[change.store] = Column(change.store, [], [])
            column.keys.append(change.key)
            column.values.append(change.value)
        return Changes(columns.values())

    def within(self, stores: Collection[str]) -> Changes:
        """Return the changes of these stores."""
        return Changes(column for column in self.columns if column.store in stores)

    def stores(self) -> list[str]:
        """Return the stores that change, each once."""
        return list(dict.fromkeys(column.store for column in self.columns))

    def __add__(self, other: Changes) -> Changes:
        return Changes(self.columns + other.columns)

    def __iter__(self) -> Iterator[Change]:
        for column in self.columns:
            yield from column

    def __len__(self) -> int:
        return sum(map(len, self.columns))
