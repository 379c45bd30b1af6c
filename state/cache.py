"""Decoded values over a store, with all uncommitted changes: what operators read and write.

A `StateCache` is a dict, so that a hit costs as much as a dict lookup; it decodes on a miss, remembers what was
written, and encodes each written entry once per commit. The store underneath has committed state only, so a rollback
drops the cache. This module decides what is dirty, what a scan sees and what may be dropped; it does not decide when to
commit.

Keys are compared by their bytes. As long as Python's equality agrees for all keys (`key_equality.py`), they are the
dict's keys themselves; `by_bytes` replaces them with their bytes before the first other key arrives. Such a key may
come with an input, or out of a store: if one cache of a task finds it there, its `kin` may get it as well.

                put, delete, touch                drain                 complete_commit
    clean ───────────────────────────▶ dirty ─────────────▶ drained ──────────────────▶ clean
      ▲                                  │                     │ put: dirty and drained
      └───────────── discard: the cache is empty, all entries come from the store again ┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sortedcontainers import SortedDict

from .changes import Changes, Column
from .codec import Codec
from .footprint import Sizes
from .key_equality import KeyBytes, Kin, all_plain
from .store import VERSION, Store, StoredRows, unframe

__all__ = ["Codec", "StateCache"]

K = TypeVar("K")
V = TypeVar("V")

SAMPLE = 8
"""Entries encoded to estimate the size of the others."""
CHUNK = 64
"""Index keys that a scan takes at a time, so that writes during the scan do not disturb it."""
SLACK = 1 / 16
"""Part of the budget that is freed beyond need, so that not every commit has to drop entries."""


class StateCache(dict[K, "V | None"]):
    """Read-your-writes access to one store of a task.

    `cache[key]` is the value, or None for an absent key. Of the dict's own writing methods, operators use only
    `cache[key] = value` followed by `cache.dirty_add(key)` or `cache.mark(key)`, which is `put` without the call. A
    value may be changed in place if `put` or `touch` is called before the operator returns.
    """

    __slots__ = (
        "_born",
        "_codec",
        "_encode_key",
        "_index",
        "_indexed",
        "_mean",
        "_recent",
        "_sample_at",
        "_drained",
        "_store",
        "_watches",
        "dirty",
        "dirty_add",
        "kin",
        "name",
    )

    def __init__(self, store: Store, name: str, codec: Codec[K, V]) -> None:
        super().__init__()
        self.name = name
        self.dirty: dict[K, None] = {}
        """The keys written since the last drain, in the order of their first write."""
        self.dirty_add: Callable[[K], object] = self.dirty.setdefault if codec.exact else self._mark
        """Marks a key as written; stays valid for the life of the cache."""
        self._codec = codec
        self._encode_key = codec.encode_key
        self._store = store
        self.kin: Sequence[Kin] = ()
        """The caches of the same task that may have to switch to bytes."""
        self._watches = not codec.exact  # for the first key that is not plain
        self._born: set[K] = set()  # dirty keys that the store does not have
        self._drained: dict[K, int] = {}  # with the encoded sizes
        self._recent = Sizes()
        self._index: SortedDict[bytes, K] | None = None  # dirty and drained keys by encoded key; made by the first scan
        self._indexed = 0  # how many of `dirty` are in the index
        self._mean = 0.0  # encoded bytes per written entry
        self._sample_at = 1  # `dirty` is sampled when it has this many entries

    def encode_key(self, key: K) -> bytes:
        """Return the bytes of a key."""
        return self._codec.encode_key(key)

    @property
    def mark(self) -> Callable[[K], object]:
        """`dirty_add`, but faster, for one list of records, during which nothing is scanned."""
        return self.dirty.setdefault

    def __missing__(self, key: K) -> V | None:
        raw_key = self._encode_key(key)
        raw = self._store.get(self.name, raw_key)
        value = None if raw is None else self._codec.decode_value(unframe(raw))
        size = len(raw_key) if raw is None else len(raw_key) + len(raw)
        self[key] = value
        self._recent.add(key, size)
        return value

    def put(self, key: K, value: V | None) -> None:
        """Write a value; None deletes."""
        self[key] = value
        self.dirty[key] = None

    def delete(self, key: K) -> None:
        """Delete a key."""
        self[key] = None
        self.dirty[key] = None

    def withdraw(self, key: K) -> None:
        """Undo the first write of a key that the store does not have."""
        del self.dirty[key]
        self._born.discard(key)
        self._gone(key)
        self._index = None

    def create(self, key: K, value: V) -> None:
        """Write a value for a key that the caller knows to be absent.

        If it is deleted before the next commit, it leaves no change.
        """
        if key not in self.dirty:
            self._born.add(key)
        self[key] = value
        self.dirty[key] = None

    def touch(self, key: K) -> None:
        """Mark the value of a key, read by `cache[key]`, as changed in place, now or later."""
        self.dirty[key] = None

    def scan(self, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """Return entries with lo <= encoded key < hi, by encoded key, including uncommitted writes.

        Writes during the scan are legal: entries not yet reached show their newest value, deleted ones are left out,
        new ones may or may not appear. A value that the scan returned is changed by `put`, never by `touch`. No scan
        outlives a commit.
        """
        if hi is not None and hi <= lo:
            return iter(())
        written = _range(self._written_keys(), lo, hi, reverse)
        return self._merge(written, self._store.scan(self.name, lo, hi, reverse), reverse)

    def committed(self) -> StoredRows:
        """Return what the store has, without uncommitted writes."""
        return StoredRows(self._store, self.name)

    def drain(self) -> Changes:
        """Return the encoded changes since the last drain, by first write."""
        encode_key, encode_value = self._encode_key, self._codec.encode_value
        keys: list[bytes] = []
        values: list[bytes | None] = []
        drained = self._drained
        total = 0
        for key in self._born:
            if self[key] is None:
                del self.dirty[key]
                self._gone(key)
                self._index = None
        self._born.clear()
        for key in self.dirty:
            value = self[key]
            raw_key = encode_key(key)
            keys.append(raw_key)
            if value is None:
                values.append(None)
                size = len(raw_key)
            else:
                raw = VERSION + encode_value(value)
                values.append(raw)
                size = len(raw_key) + len(raw)
            drained[key] = size
            total += size
        if not keys:
            return Changes()
        self._mean = total / len(keys)
        self._sample_at = len(keys) * 2
        self.dirty.clear()
        self._index = None
        return Changes([Column(self.name, keys, values)])

    def complete_commit(self) -> None:
        """Note that the drained changes are in the store: entries not written since then are clean."""
        self._recent.complete_commit(self._drained)
        self._drained.clear()
        self._index = None

    def discard(self) -> None:
        """Drop everything, so that the next reads come from the store."""
        self.clear()
        self.dirty.clear()
        self._born.clear()
        self._drained.clear()
        self._recent.clear()
        self._index = None
        self._sample_at = 1

    @property
    def dirty_bytes(self) -> int:
        """The estimated bytes of the next drain, from a few encoded entries and from earlier drains."""
        count = len(self.dirty)
        if count >= self._sample_at:
            sample = list(islice(reversed(self.dirty), SAMPLE))
            mean = sum(map(self._encoded_size, sample)) / len(sample)
            self._mean = (self._mean + mean) / 2 if self._mean else mean
            self._sample_at = count * 2
        return int(count * self._mean)

    @property
    def memory(self) -> int:
        """The estimated bytes of memory of the entries, from their encoded sizes and a sample."""
        return self._recent.memory(self, self._mean)

    def trim(self, max_bytes: int) -> None:
        """Drop clean entries, oldest load or write first, if `memory` exceeds `max_bytes`."""
        memory = self.memory
        if memory <= max_bytes:
            return
        surplus = memory - max_bytes * (1 - SLACK)
        sizes, dirty, drained = self._recent, self.dirty, self._drained
        dropped: list[K] = []
        for key, size in sizes.items():
            if surplus <= 0:
                break
            if key not in dirty and key not in drained:
                dropped.append(key)
                surplus -= sizes.memory_of(size)
        for key in dropped:
            self._gone(key)

    def by_bytes(self) -> None:
        """Replace all keys by their bytes, so that keys of any kind are accepted from now on."""
        if not self._watches:
            return
        encode = self._encode_key
        held = [{KeyBytes(encode(key)): item for key, item in kept.items()} for kept in self._kept()]
        cache: Any = self
        cache._born = {KeyBytes(encode(key)) for key in self._born}
        cache.__class__ = BytesCache
        for kept, items in zip(self._kept(), held, strict=True):
            dict[Any, Any].clear(kept)
            kept.update(items)
        cache._encode_key = cache._plain
        self._watches = False
        self._index = None

    def found(self, keys: Iterable[Any]) -> None:
        """Switch all caches of the task to bytes if one of these keys from the store is not plain."""
        if not all_plain(keys):
            for cache in (self, *self.kin):
                cache.by_bytes()

    def _kept(self) -> tuple[dict[Any, Any], ...]:
        return self, self.dirty, self._drained, self._recent

    def _mark(self, key: K) -> None:
        self.touch(key)

    def _gone(self, key: K) -> None:
        """Remove an entry, or keep a drained one as deleted, because that is not in the store yet."""
        self._recent.drop(key)
        if key in self._drained:
            self[key] = None
        else:
            del self[key]

    def _encoded_size(self, key: K) -> int:
        value = self[key]
        return len(self._encode_key(key)) + (0 if value is None else 1 + len(self._codec.encode_value(value)))

    def _written_keys(self) -> SortedDict[bytes, K]:
        """Return the current index; only the keys written since the last scan are encoded."""
        index = self._index
        if index is None:
            index = self._index = SortedDict({self._encode_key(key): key for key in self._drained})
            self._indexed = 0
        fresh = len(self.dirty) - self._indexed
        if fresh:
            index.update({self._encode_key(key): key for key in islice(reversed(self.dirty), fresh)})
            self._indexed += fresh
        return index

    def _merge(
        self, written: Iterator[tuple[bytes, K]], stored: Iterator[tuple[bytes, bytes]], reverse: bool
    ) -> Iterator[tuple[K, V]]:
        decode_key, decode_value, shown = self._codec.decode_key, self._codec.decode_value, self._shown
        mine = next(written, None)
        for raw_key, raw in stored:
            while mine is not None and (mine[0] > raw_key if reverse else mine[0] < raw_key):
                value = self[mine[1]]
                if value is not None:
                    yield shown(mine[1]), value
                mine = next(written, None)
            if mine is not None and mine[0] == raw_key:
                key = shown(mine[1])
                mine = next(written, None)
            else:
                key = decode_key(raw_key)
                if self._watches:
                    self.found((key,))
                    shown = self._shown
            value = self[key] if key in self else decode_value(unframe(raw))
            if value is not None:
                yield key, value
        while mine is not None:
            value = self[mine[1]]
            if value is not None:
                yield shown(mine[1]), value
            mine = next(written, None)

    def _shown(self, key: K) -> K:
        """Return the decoded form of a key of the dict."""
        return key


class BytesCache(StateCache[Any, Any]):
    """A `StateCache` for keys of any kind: the dict's keys are the bytes of the keys.

    A `StateCache` becomes one while it is in use; its own methods then meet `KeyBytes`, which stay unchanged.
    """

    __slots__ = ()

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._raw(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._raw(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(self._raw(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._raw(key))

    def put(self, key: Any, value: Any) -> None:
        super().put(self._raw(key), value)

    def delete(self, key: Any) -> None:
        super().delete(self._raw(key))

    def withdraw(self, key: Any) -> None:
        super().withdraw(self._raw(key))

    def create(self, key: Any, value: Any) -> None:
        super().create(self._raw(key), value)

    def touch(self, key: Any) -> None:
        super().touch(self._raw(key))

    @property
    def mark(self) -> Callable[[Any], object]:
        return self.touch

    def _raw(self, key: Any) -> KeyBytes:
        if key.__class__ is KeyBytes:
            return key
        hash(key)  # a mutable object is not a key here either
        return KeyBytes(self._codec.encode_key(key))

    def _plain(self, key: Any) -> bytes:
        return bytes(key) if key.__class__ is KeyBytes else self._codec.encode_key(key)

    def _shown(self, key: Any) -> Any:
        return self._codec.decode_key(bytes(key)) if key.__class__ is KeyBytes else key


def _range(index: SortedDict[bytes, K], lo: bytes, hi: bytes | None, reverse: bool) -> Iterator[tuple[bytes, K]]:
    """Yield a range of the index, which may grow meanwhile."""
    inclusive = (True, False)
    while True:
        chunk = list(islice(index.irange(lo, hi, inclusive, reverse), CHUNK))
        for raw_key in chunk:
            yield raw_key, index[raw_key]
        if len(chunk) < CHUNK:
            return
        if reverse:
            hi = chunk[-1]
        else:
            lo, inclusive = chunk[-1], (False, False)
