"""How the rows of a dump become the entries of a store again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from .store_rows import StoreRow

__all__ = ["NOT_LOADED", "Loading", "Look", "no_books", "time_of", "unknown_columns"]

NOT_LOADED: Final = "its rows do not show all that the step keeps"
"""Why most stores have no loading."""
Look: TypeAlias = Callable[[Any], Any]
"""Returns the entry under a slot of the same task, None if there is none."""


def no_books(look: Look, slot: Any, entry: Any) -> Iterable[tuple[Any, Any]]:
    """Return no entries: the step keeps no books."""
    return ()


@dataclass(frozen=True)
class Loading:
    """The way back from rows to entries, for a store whose rows hold all that it has."""

    entry: Callable[[StoreRow], tuple[Any, Any]]
    """From a row in JSON types to a slot and its entry. Raises ValueError for a row that does not fit."""
    key: Callable[[Any], bytes]
    """From a slot to the bytes of its key, by which records and state find each other."""
    books: Callable[[Look, Any, Any], Iterable[tuple[Any, Any]]] = no_books
    """From a new slot and its entry to what the step notes about it besides: the stream time, lists of windows."""


def time_of(row: StoreRow, default: int = 0) -> int:
    """Return the event time of a row. Raises ValueError."""
    time = default if row.timestamp is None else row.timestamp
    if time < 0:
        raise ValueError(f"the timestamp is {time}: it is in ms since 1970, and not negative")
    return time


def unknown_columns(row: StoreRow, known: Iterable[str] = ()) -> None:
    """Raise ValueError for a row with columns that the store does not have."""
    others = sorted(row.columns.keys() - set(known))
    if others:
        raise ValueError(f"the store has no column {', '.join(others)}")
