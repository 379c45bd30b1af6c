"""Versioned stores: the versions of the row of each key, with their times of validity.

A version is valid from its own time until that of the next one; a tombstone is a version without a value. The newest
version of a key is in the key's last slot, so that the usual lookup is one read; older versions are stored under the
time from which they were valid. As in Kafka Streams (`RocksDBVersionedStore`), a version that is older than the newest
version of all keys by more than the history is rejected; a lookup before the history returns the newest version of the
key or nothing; and a tombstone with the time of the newest version removes that version and restores the one before it.

With a watermark, the history is relative to the smaller of the watermark and the newest time.

Versions that no lookup can return any more are deleted later: an index in the same store, ordered by time, lists the
keys that may have such versions, with one entry per key and eighth of the history.

    encoded key:                00 the clock   |   00 01 the newest time   |   00 02 the watermark
                                01 + key + time, a version   |   02 + time + key, the index
    encoded value of a version: 8 bytes of time, 1 byte for a value or 0 for a tombstone, the value
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from struct import Struct
from typing import Any, Final, NamedTuple

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..graph.store_rows import StoreRow
from ..graph.topology import StoreView
from ..serdes.base import Serde, is_exact
from .expiring import NEWEST_TIME, STREAM_TIME, WATERMARK, ExpiryEntry
from .placements import placed

__all__ = ["REFUSED", "Version", "Versions", "versions_codec", "versions_view"]

LATEST: Final = (1 << 63) - 1
"""The time in the slot of a key's newest version."""
REFUSED: Final = -1
"""The result of `put` for a version that is too old to be stored."""

WORDS: Final = {STREAM_TIME: b"\x00", NEWEST_TIME: b"\x00\x01", WATERMARK: b"\x00\x02"}
WORD_OF: Final = {data: word for word, data in WORDS.items()}
ENTRY, INDEX = b"\x01", b"\x02"
GRAINS = 8

_HEAD = Struct(">q?")
_TIME = Struct(">q")


class Version(NamedTuple):
    """A value, and the event time from which it is valid, in milliseconds since 1970.

    Args:
        valid_from: That time.
        value: The value.

    Example:
        >>> tm.Version(valid_from=1_000, value=1.1)
        Version(valid_from=1000, value=1.1)
    """

    valid_from: int
    value: Any


class Versions:
    """The versions in one store.

    `write(slot, entry)`, if given, writes an entry to the cache; None deletes it. With `watermarked`, time moves by
    `move` only.
    """

    def __init__(
        self,
        cache: StateCache[Any, Any],
        encode_key: Callable[[Any], bytes],
        history: int,
        write: Callable[[Any, Any], None] | None = None,
        *,
        watermarked: bool = False,
    ) -> None:
        self._cache = cache
        self._watermarked = watermarked
        self._write = write or self._put
        self._encode_key = encode_key
        self._history = history
        self._grain = max(1, history // GRAINS)

    def _put(self, slot: Any, entry: Any) -> None:
        """Write to the cache; its method is looked up each time, since it changes with `by_bytes`."""
        self._cache.put(slot, entry)

    def move(self, time: int) -> None:
        """Move the watermark, and delete the versions that the history no longer reaches."""
        watermark, newest = self._cache[WATERMARK], self._cache[NEWEST_TIME]
        self._write(WATERMARK, time)
        if newest is not None:
            self._forget_between(min(newest, -1 if watermark is None else watermark), min(newest, time))

    def _reached(self, newest: int) -> int:
        """Return the time that the history is relative to, given the newest time."""
        watermark: int | None = self._cache[WATERMARK] if self._watermarked else newest
        return -1 if watermark is None else min(newest, watermark)

    def newest(self, key: Any) -> Version | None:
        """Return the newest version of a key; its value is None if it is a tombstone."""
        return self._cache[key, LATEST]

    def as_of(self, key: Any, time: int) -> Version | None:
        """Return the version valid at a time; None if there is none within the history."""
        newest: Version | None = self._cache[key, LATEST]
        if newest is None:
            return None
        if newest.valid_from <= time:
            return None if newest.value is None else newest
        if time < 0 or time < self._reached(self._cache[NEWEST_TIME] or 0) - self._history:
            return None
        raw = self._encode_key(key)
        for _, version in self._cache.scan(ENTRY + pack(raw, 0), ENTRY + pack(raw, time + 1), reverse=True):
            return None if version.value is None else version
        return None

    def put(self, key: Any, value: Any, time: int) -> int | None:
        """Add a version (None: a tombstone) and return the time until which it is valid.

        That time is None for the newest version, and `REFUSED` for one that is too old to be stored. A version with the
        same time is replaced.
        """
        cache, write = self._cache, self._write
        latest = cache[NEWEST_TIME]
        if latest is None or time > latest:
            write(NEWEST_TIME, time)
            if latest is not None:
                if self._watermarked:
                    self._forget_between(self._reached(latest), self._reached(time))
                elif time // self._grain > latest // self._grain:
                    self._forget(time - self._history)
        elif time < self._reached(latest) - self._history:
            return REFUSED
        newest: Version | None = cache[key, LATEST]
        version = Version(time, value)
        if newest is None or newest.valid_from < time:
            if newest is not None:
                write((key, newest.valid_from), newest)
                self._note(key, time)
            elif value is None:
                self._note(key, time)
            write((key, LATEST), version)
            return None
        if newest.valid_from == time:
            if newest.value is not None and value is None:
                self._withdraw(key, time)
                return None
            if newest.value is None and value is not None:
                write((key, time), newest)
            write((key, LATEST), version)
            return None
        raw = self._encode_key(key)
        slot, following = next(cache.scan(ENTRY + pack(raw, time + 1), ENTRY + pack(raw, LATEST) + b"\x00"))
        write((key, time), version)
        if value is None and slot[1] == LATEST:
            write((key, following.valid_from), Version(following.valid_from, None))
        self._note(key, following.valid_from)
        return following.valid_from

    def _withdraw(self, key: Any, time: int) -> None:
        """Remove the newest version because of a tombstone with the same time.

        The tombstone is stored if an earlier version is known to have ended then. Otherwise the version before becomes
        the newest again, since a late record may still be older than it. A tombstone in the slot of the time records
        that a tombstone of this time came before the value.
        """
        write, raw = self._write, self._encode_key(key)
        before = next(self._cache.scan(ENTRY + pack(raw, 0), ENTRY + pack(raw, time + 1), reverse=True), None)
        if before is None:
            write((key, LATEST), None)
            return
        slot, version = before
        if version.value is not None:
            version = Version(time, None)
        else:
            write(slot, None)
        write((key, LATEST), version)
        self._note(key, version.valid_from)

    def _note(self, key: Any, ended: int) -> None:
        """Add an index entry: a version of a key ended at a time."""
        due = ExpiryEntry((ended // self._grain + 1) * self._grain, key)
        if self._cache[due] is None:
            self._write(due, True)

    def _forget_between(self, before: int, time: int) -> None:
        """Delete what the history no longer reaches, after its time moved from `before`."""
        if time // self._grain > before // self._grain:
            self._forget(time - self._history)

    def _forget(self, before: int) -> None:
        """Delete versions that ended by this time, of the keys that the index lists."""
        if before < 0:
            return
        cache, write = self._cache, self._write
        for due, _ in list(cache.scan(INDEX, INDEX + pack(before + 1))):
            raw = self._encode_key(due.slot)
            last: Any = None
            for slot, version in cache.scan(ENTRY + pack(raw, 0), ENTRY + pack(raw, LATEST) + b"\x00"):
                if version.valid_from > before:
                    break
                if last is not None:
                    write(last, None)
                last = None if slot[1] == LATEST and version.value is not None else slot
            if last is not None and last[1] == LATEST:
                write(last, None)
            write(due, None)


def versions_codec(key: Serde[Any], value: Serde[Any]) -> Codec[Any, Any]:
    """Return the codec of a versioned store."""

    def encode_key(slot: Any) -> bytes:
        if slot.__class__ is tuple:
            return ENTRY + pack(key.encode(slot[0]), slot[1])
        if slot.__class__ is ExpiryEntry:
            return INDEX + pack(slot.at, key.encode(slot.slot))
        return WORDS[slot]

    def decode_key(data: bytes) -> Any:
        kind = data[:1]
        if kind == ENTRY:
            raw, time = unpack(data[1:], bytes, int)
            return key.decode(raw), time
        if kind == INDEX:
            at, raw = unpack(data[1:], int, bytes)
            return ExpiryEntry(at, key.decode(raw))
        return WORD_OF[data]

    def encode_value(entry: Any) -> bytes:
        if entry.__class__ is Version:
            there = entry.value is not None
            return _HEAD.pack(entry.valid_from, there) + (value.encode(entry.value) if there else b"")
        return b"" if entry is True else _TIME.pack(entry)

    def decode_value(data: bytes) -> Any:
        if len(data) <= _TIME.size:
            return _TIME.unpack(data)[0] if data else True
        time, there = _HEAD.unpack_from(data)
        return Version(time, value.decode(data[_HEAD.size :]) if there else None)

    def key_of(data: bytes) -> bytes | None:
        kind = data[:1]
        if kind == ENTRY:
            return unpack(data[1:], bytes, int)[0]
        return unpack(data[1:], int, bytes)[1] if kind == INDEX else None

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key), placement=placed(key, key_of))


def versions_view(key: Serde[Any], history: int, *, watermarked: bool) -> StoreView:
    """Return the view for queries: the newest version of each key, and the version at a time."""

    def as_of(cache: StateCache[Any, Any], wanted: Any, time: int) -> Version | None:
        return Versions(cache, key.encode, history, watermarked=watermarked).as_of(wanted, time)

    def rows(slot: Any, version: Any) -> Iterator[StoreRow]:
        if slot.__class__ is tuple:
            yield StoreRow(slot[0], version.value, version.valid_from, {"newest": slot[1] == LATEST})

    return StoreView(
        to_key=lambda key: (key, LATEST),
        from_key=lambda slot: slot[0],
        from_value=lambda version: version.value,
        timestamp=lambda version: version.valid_from,
        visible=lambda slot: slot.__class__ is tuple and slot[1] == LATEST,
        as_of=as_of,
        rows=rows,
    )
