"""Decoded values of windows over a store: a cache with a page per window.

Its keys are `(start, key)`.

Most windows begin after every window that the store has, so all their entries are in the cache: they need no lookups in
the store, and an entry that is created and deleted between two commits leaves no change. A closed window is removed as
a whole: its page is dropped, and the store deletes a range (`forgotten.py`).

Keys with a start up to that of the codec are not windows, but other entries of the step: they are in `books`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from typing import Any, TypeAlias

from sortedcontainers import SortedDict

from .cache import Codec, StateCache
from .changes import Changes, Column
from .footprint import OBJECTS, Growth
from .forgotten import Forgotten
from .key_equality import KeyBytes, Kin, all_plain
from .keys import split_window_key, window_key
from .pages import BytesPage, Page
from .store import VERSION, Store, unframe

__all__ = ["Cache", "WindowCache", "cache_of"]

Slot = tuple[int, Any]
Row = tuple[bytes, Page, Any]

NEVER = -(1 << 63)
SAMPLE = 8
SLACK = 1 / 16
PAGE = 600
"""Bytes of memory that a page takes without its entries."""
SLOTS = 100
"""Bytes of memory that an entry takes in the dicts of a page."""
_raw: Callable[[tuple[bytes, Any]], bytes] = itemgetter(0)


class WindowCache:
    """Read-your-writes access to one store of a step with windows, as `StateCache` defines it.

    A loop writes as `put` does, but without the call: `page = cache.page(start)`, `page[key] = value`,
    `page.mark(key)`.
    """

    def __init__(self, store: Store, name: str, codec: Codec[Any, Any]) -> None:
        assert codec.windows is not None
        self.name = name
        self.books: StateCache[Any, Any] = StateCache(store, name, codec)
        self._store = store
        self._codec = codec
        self._windows = codec.windows
        self._first = codec.windows.first
        self._page_class = Page
        self._watches = not codec.exact  # for the first key that is no plain one
        self._pages: SortedDict[int, Page] = SortedDict()
        self._touched: dict[int, Page] = {}  # those that may have been written since the last drain
        self._uncommitted: list[Page] = []  # those with something drained that is not committed
        self._forgotten = Forgotten()
        self._bound: int | None = None  # None if the store has to be asked
        self._mean = 0.0  # encoded bytes per written entry
        self._sample_at = 1  # number of written entries at which they are sampled
        self._growth = Growth()

    @property
    def kin(self) -> Sequence[Kin]:
        """The caches of the same task that may have to switch to bytes."""
        return self.books.kin

    @kin.setter
    def kin(self, caches: Sequence[Kin]) -> None:
        self.books.kin = caches

    def page(self, start: int) -> Page:
        """Return the page of a window that will be written."""
        page = self._touched.get(start)
        if page is None:
            page = self._pages.get(start)
            if page is None:
                page = self._page(start)
            self._touched[start] = page
        return page

    def opened(self, start: int) -> Page | None:
        """Return the page of a window that will be read; None if the window has no entries."""
        page = self._pages.get(start)
        if page is None and start <= self.bound and start not in self._forgotten:
            page = self._page(start)
        return page

    def forget(self, first: int, after: int) -> None:
        """Delete all windows that start at `first` or later and before `after`."""
        first = max(first, self._first + 1)
        if after <= first:
            return
        gone: list[bytes] = []
        if first <= self.bound:
            lo, hi = window_key(first, b""), window_key(after, b"")
            gone += [raw_key for raw_key, _ in self._stored(lo, hi, reverse=False)]
        known: set[bytes] = set()
        for start in list(self._pages.irange(first, after, (True, False))):
            page = self._pages.pop(start)
            self._touched.pop(start, None)
            if not page.kept:
                continue
            keys = self._raw_keys(page, page.kept)
            if not page.whole:
                known = known or set(gone)
                keys = [key for key in keys if key not in known]
            gone += keys
        self._forgotten.add(first, after, gone)

    @property
    def bound(self) -> int:
        """The last start of a window in the store that is not whole in its page."""
        if self._bound is None:
            last = next(self._store.scan(self.name, window_key(self._first + 1, b""), None, True), None)
            self._bound = NEVER if last is None else split_window_key(last[0])[0]
        return self._bound

    def __getitem__(self, slot: Slot) -> Any:
        start, key = slot
        if start <= self._first:
            return self.books[slot]
        page = self.opened(start)
        return None if page is None else page.find(key)

    def put(self, slot: Slot, value: Any) -> None:
        """Write a value; None deletes."""
        start, key = slot
        if start <= self._first:
            self.books.put(slot, value)
        else:
            page = self.page(start)
            page[key] = value
            page.mark(key)

    def delete(self, slot: Slot) -> None:
        """Delete a key."""
        self.put(slot, None)

    def scan(self, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[Slot, Any]]:
        """Return entries with lo <= encoded key < hi, by encoded key, like `StateCache.scan`."""
        if hi is not None and hi <= lo:
            return iter(())
        middle = window_key(self._first + 1, b"")
        parts: list[Iterator[tuple[Slot, Any]]] = []
        if lo < middle:
            parts.append(self.books.scan(lo, middle if hi is None or hi > middle else hi, reverse))
        if hi is None or hi > middle:
            parts.append(self._merge(max(lo, middle), hi, reverse))
        return chain.from_iterable(reversed(parts) if reverse else parts)

    def drain(self) -> Changes:
        """Return the encoded changes since the last drain; their entries become drained."""
        keys, ranges = self._forgotten.drain()
        values: list[bytes | None] = [None] * len(keys)
        covered = len(keys) if ranges else 0
        size, deleted = 0, len(keys)
        for page in self._touched.values():
            if page.dirty:
                size += self._drain_page(page, keys, values)
        written = len(keys) - deleted
        if written:
            self._mean = size / written
            self._sample_at = written * 2
        self._touched = {}
        books = self.books.drain()
        return books + Changes([Column(self.name, keys, values, ranges, covered)]) if keys else books

    def complete_commit(self) -> None:
        """Note that the drained changes are in the store: entries not written since then are clean."""
        self.books.complete_commit()
        self._forgotten.complete_commit()
        for page in self._uncommitted:
            page.on_commit()
            if not page and not page.dirty and self._pages.get(page.start) is page and page.start not in self._touched:
                del self._pages[page.start]
        self._uncommitted = []
        self._growth.complete_commit()

    def discard(self) -> None:
        """Drop everything, so that the next reads come from the store."""
        self.books.discard()
        self._forgotten.clear()
        self._pages.clear()
        self._touched, self._uncommitted = {}, []
        self._bound = None
        self._sample_at = 1

    @property
    def dirty(self) -> bool:
        """True if anything was written since the last drain."""
        return bool(self.books.dirty or self._forgotten.keys or any(page.dirty for page in self._touched.values()))

    @property
    def dirty_bytes(self) -> int:
        """The estimated bytes of the next drain, from a few encoded entries and from earlier drains."""
        count = sum([len(page.dirty) for page in self._touched.values()])
        if count >= self._sample_at:
            mean = self._sampled()
            self._mean = (self._mean + mean) / 2 if self._mean else mean
            self._sample_at = count * 2
        return int(count * self._mean) + self._forgotten.size + self.books.dirty_bytes

    def trim(self, max_bytes: int) -> None:
        """Drop clean entries, those of the oldest windows first, if `memory` exceeds `max_bytes`."""
        memory = self.memory
        if memory <= max_bytes:
            return
        surplus = memory - max_bytes * (1 - SLACK)
        for start, page in list(self._pages.items()):
            if surplus <= 0:
                return
            if page.uncommitted or start in self._forgotten:
                continue
            each = self._memory_of(page)
            dropped = page.drop(int(surplus / each) + 1)
            surplus -= dropped * each
            if not page:
                surplus -= PAGE
                del self._pages[start]
                self._touched.pop(start, None)
            if dropped:
                self._bound = max(self.bound, start)
        self.books.trim(max(0, int(self.books.memory - surplus)))

    @property
    def memory(self) -> int:
        """The estimated bytes of memory of the entries."""
        count = len(self) - len(self.books)
        if self._growth.due(count):
            self._growth.measure(self._measured(), count)
        pages = sum([len(page) * self._memory_of(page) for page in self._pages.values()])
        return int(pages) + PAGE * len(self._pages) + self.books.memory

    def __len__(self) -> int:
        return sum(map(len, self._pages.values())) + len(self.books)

    def by_bytes(self) -> None:
        """Replace all keys by their bytes, so that keys of any kind are accepted from now on."""
        self.books.by_bytes()
        if self._watches:
            self._watches = False
            self._page_class = BytesPage
            for page in self._pages.values():
                page.by_bytes()

    def found(self, keys: Iterable[Any]) -> None:
        """Switch all caches of the task to bytes if one of these keys from the store is not plain."""
        if not all_plain(keys):
            for cache in (self, *self.kin):
                cache.by_bytes()

    def _page(self, start: int) -> Page:
        page = self._pages[start] = self._page_class(start, self._load, self._windows.encode_key)
        page.whole = start > self.bound or start in self._forgotten
        return page

    def _load(self, start: int, key: Any) -> tuple[Any, int]:
        raw_key = window_key(start, key if key.__class__ is KeyBytes else self._windows.encode_key(key))
        raw = self._store.get(self.name, raw_key)
        if raw is None:
            return None, len(raw_key)
        return self._codec.decode_value(unframe(raw)), len(raw_key) + len(raw)

    def _drain_page(self, page: Page, keys: list[bytes], values: list[bytes | None]) -> int:
        """Add the encoded keys and values written in a window; return their bytes."""
        written = page.dirty
        entries: list[Any] = list(map(page.__getitem__, written))
        deleted: list[Any] = []
        if not all(entries):
            deleted = [key for key, entry in zip(written, entries, strict=True) if entry is None]
            if page.whole:
                for key in deleted:
                    del page[key]
                    if key not in page.kept:
                        del written[key]
                entries = list(map(page.get, written))
        raw_keys, raw_values = self._raw_keys(page, written), self._encoded(entries)
        size = sum(map(len, raw_keys)) + sum([len(value) for value in raw_values if value is not None])
        keys += raw_keys
        values += raw_values
        page.drained(deleted, size)
        self._uncommitted.append(page)
        return size

    def _raw_keys(self, page: Page, keys: Iterable[Any]) -> list[bytes]:
        prefix = window_key(page.start, b"")
        encoded = self._windows.encode_keys(list(keys)) if page.__class__ is Page else keys
        return [prefix + key for key in encoded]

    def _encoded(self, entries: list[Any]) -> list[bytes | None]:
        try:
            return self._windows.encode_values(entries)
        except Exception:
            encode = self._codec.encode_value
            return [None if entry is None else VERSION + encode(entry) for entry in entries]

    def _memory_of(self, page: Page) -> float:
        """Return the bytes of memory per entry of a window."""
        return SLOTS + OBJECTS + self._growth.value * (page.mean or self._mean)

    def _measured(self) -> Iterator[tuple[Any, Any, int]]:
        """Yield keys and values of entries, with their encoded sizes."""
        for page in reversed(self._pages.values()):
            for key, value in page.items():
                if value is not None:
                    yield key, value, self._size(page, key, value)

    def _sampled(self) -> float:
        """Return the mean encoded size of a few written entries."""
        written = ((page, key) for page in reversed(self._touched.values()) for key in reversed(page.dirty))
        sizes = [self._size(page, key, page[key]) for page, key in islice(written, SAMPLE)]
        return sum(sizes) / len(sizes)

    def _size(self, page: Page, key: Any, value: Any) -> int:
        return len(self._raw_keys(page, [key])[0]) + (0 if value is None else 1 + len(self._codec.encode_value(value)))

    def _stored(self, lo: bytes, hi: bytes | None, *, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        """Yield the store's entries of windows that are neither whole in their pages nor forgotten."""
        end = window_key(self.bound + 1, b"") if self.bound != NEVER else lo
        hi = end if hi is None else min(hi, end)
        last, skipped = NEVER, False
        for raw_key, raw in self._store.scan(self.name, lo, hi, reverse):
            start = split_window_key(raw_key)[0]
            if start != last:
                last, skipped = start, self._is_dead(start)
            if not skipped:
                yield raw_key, raw

    def _is_dead(self, start: int) -> bool:
        """Return whether the store's entries of a window are all in its page, or obsolete."""
        page = self._pages.get(start)
        return start in self._forgotten if page is None else page.whole

    def _rows(self, lo: bytes, hi: bytes | None, *, reverse: bool) -> Iterator[Row]:
        """Yield the encoded keys of all pages, each with its page and key."""
        for start in list(reversed(self._pages) if reverse else self._pages):
            page = self._pages.get(start)
            prefix = window_key(start, b"")
            if page is None or (hi is not None and prefix >= hi) or window_key(start + 1, b"") <= lo:
                continue
            keys = list(page)
            for raw_key, key in sorted(zip(self._raw_keys(page, keys), keys, strict=True), key=_raw, reverse=reverse):
                if raw_key >= lo and (hi is None or raw_key < hi):
                    yield raw_key, page, key

    def _merge(self, lo: bytes, hi: bytes | None, reverse: bool) -> Iterator[tuple[Slot, Any]]:
        stored = self._stored(lo, hi, reverse=reverse)
        mine = self._rows(lo, hi, reverse=reverse)
        row = next(mine, None)
        for raw_key, raw in stored:
            while row is not None and (row[0] > raw_key if reverse else row[0] < raw_key):
                yield from self._shown(row)
                row = next(mine, None)
            if row is not None and row[0] == raw_key:
                yield from self._shown(row)
                row = next(mine, None)
                continue
            start, inner = split_window_key(raw_key)
            if self._is_dead(start):
                continue
            key = self._windows.decode_key(inner)
            if self._watches:
                self.found((key,))
            page = self._pages.get(start)
            value = page[key] if page is not None and key in page else self._codec.decode_value(unframe(raw))
            if value is not None:
                yield (start, key), value
        while row is not None:
            yield from self._shown(row)
            row = next(mine, None)

    def _shown(self, row: Row) -> Iterator[tuple[Slot, Any]]:
        """Yield the entry of a row, unless it was deleted."""
        _, page, key = row
        if self._pages.get(page.start) is page and (value := page.get(key)) is not None:
            yield (page.start, self._windows.decode_key(bytes(key)) if key.__class__ is KeyBytes else key), value


Cache: TypeAlias = StateCache[Any, Any] | WindowCache


def cache_of(store: Store, name: str, codec: Codec[Any, Any]) -> Cache:
    """Return a new cache of a store with this codec."""
    return StateCache(store, name, codec) if codec.windows is None else WindowCache(store, name, codec)
