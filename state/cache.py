"""Decoded values over a store: what an operator reads and writes, and the only place where uncommitted state lives.

A `StateCache` is a dict, so that a hit costs what a dict costs; it decodes on a miss, remembers what was written, and
encodes each written entry once a commit. The store underneath holds committed state only, so rollback is forgetting.
This file decides what is dirty, what a scan sees and what may be dropped; it does not decide when to commit.

A key is its bytes. As long as all keys are such that Python's equality says the same (`key_equality.py`), they are the
dict's keys themselves; `by_bytes` puts their bytes in place of them, before the first other key comes. Such a key may
come with an input, or out of a store: what one cache of a task finds there its `kin` may get as well.

                put, delete, touch                drain                     settle
    clean ───────────────────────────▶ dirty ─────────────▶ sealed ───────────────────▶ clean
      ▲                                  │                     │ put: dirty and sealed
      └───────────── discard: nothing is left, all comes from the store again ─────────┘
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

from sortedcontainers import SortedDict

from .footprint import Sizes
from .key_equality import all_plain
from .store import VERSION, Change, Store, unframe

__all__ = ["Codec", "StateCache"]

K = TypeVar("K")
V = TypeVar("V")

SAMPLE = 8
"""Entries encoded to estimate the size of the others."""
CHUNK = 64
"""Index keys a scan takes at a time, so that writes during the scan do not disturb it."""
SLACK = 1 / 16
"""Part of the budget that is freed beyond need, so that not every commit has to drop entries."""


@dataclass(frozen=True, slots=True)
class Codec(Generic[K, V]):
    """How keys and values become bytes. Encoded keys must sort as scans of the store are meant to see them."""

    encode_key: Callable[[K], bytes]
    decode_key: Callable[[bytes], K]
    encode_value: Callable[[V], bytes]
    decode_value: Callable[[bytes], V]
    exact: bool = False
    """True when two keys are equal if, and only if, their bytes are, whatever the keys."""


class StateCache(dict[K, "V | None"]):
    """Read-your-writes over one store of a task.

    `cache[key]` is the value, or None for an absent key. Of the dict's own writing methods operators use only
    `cache[key] = value` followed by `cache.dirty_add(key)` or `cache.mark(key)`, which is `put` without the call. A
    value may be changed in place when `put` or `touch` says so before the operator returns.
    """

    __slots__ = (
        "_born",
        "_codec",
        "_encode_key",
        "_index",
        "_indexed",
        "_looks",
        "_mean",
        "_sample_at",
        "_sealed",
        "_recent",
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
        self.kin: Sequence[StateCache[Any, Any]] = ()
        """The caches of the same task that may have to go by bytes."""
        self._watches = not codec.exact  # for the first key that is no plain one
        self._looks = not codec.exact  # at the keys that come out of the store
        self._born: set[K] = set()  # dirty keys that the store does not have
        self._sealed: dict[K, int] = {}  # with the encoded sizes
        self._recent = Sizes()
        self._index: SortedDict[bytes, K] | None = None  # dirty and sealed keys by encoded key; made by the first scan
        self._indexed = 0  # how many of `dirty` are in the index
        self._mean = 0.0  # encoded bytes an entry that is written
        self._sample_at = 1  # `dirty` is sampled when it has this many entries

    @property
    def mark(self) -> Callable[[K], object]:
        """The same and faster, for one list of records, during which nothing is scanned."""
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
        """Writes a value; None deletes."""
        self[key] = value
        self.dirty[key] = None

    def delete(self, key: K) -> None:
        """Removes a key."""
        self[key] = None
        self.dirty[key] = None

    def withdraw(self, key: K) -> None:
        """Takes back the first write of a key that the store has not, as if it had not been."""
        del self.dirty[key]
        self._born.discard(key)
        self._gone(key)
        self._index = None

    def create(self, key: K, value: V) -> None:
        """Writes a value under a key that has none, which the caller knows; deleted before the next commit, it leaves
        no trace."""
        if key not in self.dirty:
            self._born.add(key)
        self[key] = value
        self.dirty[key] = None

    def touch(self, key: K) -> None:
        """Says that the value under the key, read by `cache[key]`, was or will be changed in place."""
        self.dirty[key] = None

    def scan(self, lo: bytes, hi: bytes | None, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """Entries with lo <= encoded key < hi in the order of encoded keys, uncommitted writes included.

        Writes during the scan are legal: entries not yet reached show their newest value, deleted ones are left out,
        new ones may or may not appear. A value that the scan gave out is changed by `put`, never by `touch`. No scan
        outlives a commit.
        """
        if hi is not None and hi <= lo:
            return iter(())
        written = _range(self._written_keys(), lo, hi, reverse)
        return self._merge(written, self._store.scan(self.name, lo, hi, reverse), reverse)

    def drain(self) -> list[Change]:
        """What was written since the last drain, encoded, in the order of first writes; the entries are now sealed."""
        name, encode_key, encode_value = self.name, self._encode_key, self._codec.encode_value
        changes: list[Change] = []
        sealed = self._sealed
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
            if value is None:
                changes.append(Change(name, raw_key, None))
                size = len(raw_key)
            else:
                raw = VERSION + encode_value(value)
                changes.append(Change(name, raw_key, raw))
                size = len(raw_key) + len(raw)
            sealed[key] = size
            total += size
        if changes:
            self._mean = total / len(changes)
            self._sample_at = len(changes) * 2
            self.dirty.clear()
            self._index = None
        return changes

    def settle(self) -> None:
        """The drained changes are in the store: entries not written again since then are clean."""
        self._recent.settle(self._sealed)
        self._sealed.clear()
        self._index = None

    def discard(self) -> None:
        """Forgets everything, so that what is read next is what the store holds."""
        self.clear()
        self.dirty.clear()
        self._born.clear()
        self._sealed.clear()
        self._recent.clear()
        self._index = None
        self._sample_at = 1

    @property
    def dirty_bytes(self) -> int:
        """Bytes the next drain will give, estimated from a few encoded entries and from earlier drains."""
        count = len(self.dirty)
        if count >= self._sample_at:
            sample = list(islice(reversed(self.dirty), SAMPLE))
            mean = sum(map(self._encoded_size, sample)) / len(sample)
            self._mean = (self._mean + mean) / 2 if self._mean else mean
            self._sample_at = count * 2
        return int(count * self._mean)

    @property
    def memory(self) -> int:
        """Bytes of memory the entries take: an estimate, from what they are encoded and what a few of them take."""
        return self._recent.memory(self, self._mean)

    def trim(self, max_bytes: int) -> None:
        """Drops clean entries if `memory` is above `max_bytes`: those that were loaded or written longest ago first."""
        memory = self.memory
        if memory <= max_bytes:
            return
        surplus = memory - max_bytes * (1 - SLACK)
        sizes, dirty, sealed = self._recent, self.dirty, self._sealed
        dropped: list[K] = []
        for key, size in sizes.items():
            if surplus <= 0:
                break
            if key not in dirty and key not in sealed:
                dropped.append(key)
                surplus -= sizes.memory_of(size)
        for key in dropped:
            self._gone(key)

    def by_bytes(self) -> None:
        """From here on keys of any kind may come: the cache holds their bytes in place of them."""
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
        """Keys have come out of the store: if one of them is no plain one, all caches of the task go by bytes."""
        if not all_plain(keys):
            for cache in (self, *self.kin):
                cache.by_bytes()
                cache._looks = False

    def _kept(self) -> tuple[dict[Any, Any], ...]:
        return self, self.dirty, self._sealed, self._recent

    def _mark(self, key: K) -> None:
        self.touch(key)

    def _gone(self, key: K) -> None:
        """An entry leaves the cache, unless what is sealed of it still counts: that it is not there."""
        self._recent.drop(key)
        if key in self._sealed:
            self[key] = None
        else:
            del self[key]

    def _encoded_size(self, key: K) -> int:
        value = self[key]
        return len(self._encode_key(key)) + (0 if value is None else 1 + len(self._codec.encode_value(value)))

    def _written_keys(self) -> SortedDict[bytes, K]:
        """The index, brought up to date: only the keys written since the last scan are encoded."""
        index = self._index
        if index is None:
            index = self._index = SortedDict({self._encode_key(key): key for key in self._sealed})
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
                if self._looks:
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
        """A key of the dict as people know it."""
        return key


class KeyBytes(bytes):
    """An encoded key in place of the key."""


class BytesCache(StateCache[Any, Any]):
    """The same for keys of any kind: those of the dict are the bytes of those that its methods are called with.

    A `StateCache` becomes one while it is in use; its own methods meet `KeyBytes` then, which stay what they are.
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
        hash(key)  # what can be changed in place is no key here either
        return KeyBytes(self._codec.encode_key(key))

    def _plain(self, key: Any) -> bytes:
        return bytes(key) if key.__class__ is KeyBytes else self._codec.encode_key(key)

    def _shown(self, key: Any) -> Any:
        return self._codec.decode_key(bytes(key)) if key.__class__ is KeyBytes else key


def _range(index: SortedDict[bytes, K], lo: bytes, hi: bytes | None, reverse: bool) -> Iterator[tuple[bytes, K]]:
    """A range of the index, which may grow meanwhile."""
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
