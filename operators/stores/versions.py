"""Rows with their history: what was valid when, under each key, for as long as the history goes back.

A version is valid from its own time until that of the next one; a tombstone is a version without a value. What is
newest by time lies under a key's last slot, so that the usual look-up is one read; what it replaced is kept under the
time from which it was valid. As in Kafka Streams a version that is older than the newest of all by more than the
history is refused, and a look-up that goes back further finds the newest version of the key or nothing; and a
tombstone that takes back the newest version, with its very time, leaves things as they were before that
(`RocksDBVersionedStore`).

Behind a watermark the history goes back from the newest version that the watermark has passed: from the time that it
tells where there are newer versions.

Versions that no look-up can find any more are deleted a little later: an index in the same store, in the order of time,
says which keys may have some, a note a key and eighth of the history.

    encoded key:                00 the clock   |   00 01 the newest time   |   00 02 the watermark
                                01 + key + time, a version   |   02 + time + key, the index
    encoded value of a version: 8 bytes of time, 1 byte for a value or 0 for a tombstone, the value
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, Final, NamedTuple

from ...state.cache import Codec, StateCache
from ...state.keys import pack, unpack
from ..graph.topology import StoreView
from ..serdes.base import Serde, is_exact
from .expiring import CLOCK, NEWEST, TOLD, Due

__all__ = ["REFUSED", "Version", "Versions", "versions_codec", "versions_view"]

LATEST: Final = (1 << 63) - 1
"""In place of a time: the slot of a key's newest version."""
REFUSED: Final = -1
"""In place of the time until which a version is valid: it is too old to be kept."""

WORDS: Final = {CLOCK: b"\x00", NEWEST: b"\x00\x01", TOLD: b"\x00\x02"}
WORD_OF: Final = {data: word for word, data in WORDS.items()}
ENTRY, INDEX = b"\x01", b"\x02"
GRAINS = 8

_HEAD = Struct(">q?")
_TIME = Struct(">q")


class Version(NamedTuple):
    """A value, and since when it has been valid, in milliseconds of event time."""

    valid_from: int
    value: Any


class Versions:
    """The versions in one store.

    `write(slot, entry)`, where given, puts an entry into the cache; None deletes. When `watermarked` `move` tells the
    time.
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
        """Looks the method up each time: it is another one once the cache goes by bytes."""
        self._cache.put(slot, entry)

    def move(self, time: int) -> None:
        """The watermark has come to a time."""
        told, newest = self._cache[TOLD], self._cache[NEWEST]
        self._write(TOLD, time)
        if newest is not None:
            self._forget_between(min(newest, -1 if told is None else told), min(newest, time))

    def _reached(self, newest: int) -> int:
        """From where the history goes back, when this is the newest time."""
        told: int | None = self._cache[TOLD] if self._watermarked else newest
        return -1 if told is None else min(newest, told)

    def newest(self, key: Any) -> Version | None:
        """The version of a key with the largest time; its value is None when that is a tombstone."""
        return self._cache[key, LATEST]

    def as_of(self, key: Any, time: int) -> Version | None:
        """What was valid at a time, None when nothing was or the history does not go back so far."""
        newest: Version | None = self._cache[key, LATEST]
        if newest is None:
            return None
        if newest.valid_from <= time:
            return None if newest.value is None else newest
        if time < 0 or time < self._reached(self._cache[NEWEST] or 0) - self._history:
            return None
        raw = self._encode_key(key)
        for _, version in self._cache.scan(ENTRY + pack(raw, 0), ENTRY + pack(raw, time + 1), reverse=True):
            return None if version.value is None else version
        return None

    def put(self, key: Any, value: Any, time: int) -> int | None:
        """Adds a version, None being a tombstone, and gives the time until which it is valid.

        That is None for a version that is the newest, and `REFUSED` for one that is too old to be kept. A version of
        the very same time is replaced.
        """
        cache, write = self._cache, self._write
        latest = cache[NEWEST]
        if latest is None or time > latest:
            write(NEWEST, time)
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
        """Takes the newest version back, by a tombstone of its own time.

        The tombstone is kept where an earlier version is known to have ended then; else what came before is the newest
        again, so that a record that comes late may be. That a tombstone came at this time, and then the value, is known
        by a tombstone in the slot of the time.
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
        """Notes in the index that a version of a key ended at a time."""
        due = Due((ended // self._grain + 1) * self._grain, key)
        if self._cache[due] is None:
            self._write(due, True)

    def _forget_between(self, before: int, time: int) -> None:
        """Deletes what a history that goes back from a time does not reach, when it went back from `before`."""
        if time // self._grain > before // self._grain:
            self._forget(time - self._history)

    def _forget(self, before: int) -> None:
        """Deletes versions that ended by this time, of the keys that the index says may have some."""
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
    """A codec for a store of versions."""

    def encode_key(slot: Any) -> bytes:
        if slot.__class__ is tuple:
            return ENTRY + pack(key.encode(slot[0]), slot[1])
        if slot.__class__ is Due:
            return INDEX + pack(slot.at, key.encode(slot.slot))
        return WORDS[slot]

    def decode_key(data: bytes) -> Any:
        kind = data[:1]
        if kind == ENTRY:
            raw, time = unpack(data[1:], bytes, int)
            return key.decode(raw), time
        if kind == INDEX:
            at, raw = unpack(data[1:], int, bytes)
            return Due(at, key.decode(raw))
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

    return Codec(encode_key, decode_key, encode_value, decode_value, is_exact(key))


def versions_view(key: Serde[Any], history: int, *, watermarked: bool) -> StoreView:
    """People see the newest version of each key, and what was valid at a time."""

    def as_of(cache: StateCache[Any, Any], wanted: Any, time: int) -> Version | None:
        return Versions(cache, key.encode, history, watermarked=watermarked).as_of(wanted, time)

    return StoreView(
        to_key=lambda key: (key, LATEST),
        from_key=lambda slot: slot[0],
        from_value=lambda version: version.value,
        timestamp=lambda version: version.valid_from,
        visible=lambda slot: slot.__class__ is tuple and slot[1] == LATEST,
        as_of=as_of,
    )
