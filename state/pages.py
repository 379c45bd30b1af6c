"""The entries of one window, by key: a page of a `WindowCache`.

A page is a dict, so that a hit costs as much as a dict lookup. A page is *whole* if the store has no entry of the
window that is not in the page: then a key that is missing here is missing in the store, and nothing is looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .key_equality import KeyBytes

__all__ = ["BytesPage", "Page"]


class Page(dict[Any, Any]):
    """One window. A value of None is an uncommitted deletion, or a key known to be absent."""

    __slots__ = ("_encode", "_load", "deleted", "dirty", "kept", "mean", "recent", "start", "uncommitted", "whole")

    def __init__(self, start: int, load: Callable[[int, Any], tuple[Any, int]], encode: Callable[[Any], bytes]) -> None:
        """Make an empty page; `load` returns a window's value of a key in the store, and its size.

        The value is None if the store has none.
        """
        super().__init__()
        self.start = start
        self.whole = False
        self.dirty: dict[Any, None] = {}
        """The keys written since the last drain, in the order of their first write."""
        self.recent: dict[Any, None] = {}
        """The keys of the last drain."""
        self.kept: dict[Any, None] = {}
        """The keys that are in the store or drained into it: of a whole page all, of another those not committed."""
        self.deleted: list[Any] = []
        """The keys whose deletion was drained and is not committed, of a page that is not whole."""
        self.uncommitted = False
        """Whether something was drained that is not committed."""
        self.mean = 0.0
        """The estimated encoded bytes per entry."""
        self._load = load
        self._encode = encode

    @property
    def find(self) -> Callable[[Any], Any]:
        """The function from key to value or None, for one list of records without scans."""
        return self.get if self.whole else self.__getitem__

    @property
    def mark(self) -> Callable[[Any], object]:
        """The function that marks `page[key]` as written, valid as long as `find`."""
        return self.dirty.setdefault

    def __missing__(self, key: Any) -> Any:
        if self.whole:
            return None
        self[key], size = self._load(self.start, key)
        self.mean += (size - self.mean) / len(self)
        return self[key]

    def drained(self, deleted: list[Any], size: int) -> None:
        """Note that the written keys were drained in `size` bytes; `deleted` were deleted."""
        keys = self.dirty
        if keys:
            self.mean += (size / len(keys) - self.mean) * min(1, len(keys) / (len(self) or 1))
        if self.kept:
            self.kept.update(keys)
        else:
            self.kept = dict(keys)
        for key in deleted:
            self.kept.pop(key, None)
        if not self.whole:
            self.deleted += deleted
        self.recent, self.dirty = keys, {}
        self.uncommitted = True

    def on_commit(self) -> None:
        """Note that what was drained is in the store."""
        self.uncommitted = False
        if not self.whole:
            self.kept = {}
        for key in self.deleted:
            if key not in self.dirty and self.get(key, 0) is None:
                del self[key]
        self.deleted = []

    def drop(self, most: int) -> int:
        """Drop at most `most` clean entries, those of the last drain last; return the number.

        No drained change may be uncommitted.
        """
        clean = [key for key in self if key not in self.dirty] if self.dirty else list(self)
        if len(clean) > most:
            recent = self.recent
            clean = sorted(clean, key=recent.__contains__)[:most]
        for key in clean:
            del self[key]
        if clean:
            self.whole = False
            self.kept = {}
        return len(clean)

    def by_bytes(self) -> None:
        """Replace all keys by their bytes."""
        encode = self._encode
        entries = {KeyBytes(encode(key)): value for key, value in self.items()}
        self.dirty, self.kept = self._bytes_of(self.dirty), self._bytes_of(self.kept)
        self.deleted = [KeyBytes(encode(key)) for key in self.deleted]
        self.recent = {}
        self.clear()
        self.update(entries)
        page: Any = self
        page.__class__ = BytesPage

    def _bytes_of(self, keys: dict[Any, None]) -> dict[Any, None]:
        return dict.fromkeys([KeyBytes(self._encode(key)) for key in keys])


class BytesPage(Page):
    """A `Page` for keys of any kind, by their bytes; it can be called with either."""

    __slots__ = ()

    @property
    def find(self) -> Callable[[Any], Any]:
        return self.__getitem__

    @property
    def mark(self) -> Callable[[Any], object]:
        return self._mark

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._raw(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._raw(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(self._raw(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._raw(key))

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(self._raw(key), default)

    def _mark(self, key: Any) -> None:
        self.dirty[self._raw(key)] = None

    def _raw(self, key: Any) -> KeyBytes:
        if key.__class__ is KeyBytes:
            return key
        hash(key)  # a mutable object is not a key here either
        return KeyBytes(self._encode(key))
