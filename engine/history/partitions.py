"""The partitions of a column of keys, by the hash of Java's client.

The same function as that of `kafka/murmur2.py`, for many keys at a time.

Imported only where there are histories, because it needs the extra `parquet`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from ..kafka.murmur2 import MULTIPLIER, SEED, murmur2

__all__ = ["partitions_of"]

np: Final[Any] = import_module("numpy")
LONGEST: Final = 256
"""Keys of more bytes are hashed one by one."""


def partitions_of(keys: Any, partitions: int) -> Any:
    """Return the partition of each key, as NumPy's integers.

    `keys` is an array of Arrow of text without nulls.
    """
    count = len(keys)
    _, offsets, data = keys.buffers()
    ends = np.frombuffer(offsets, np.int32)[keys.offset : keys.offset + count + 1].astype(np.int64)
    lengths = np.diff(ends)
    padded = np.concatenate([np.frombuffer(data or b"", np.uint8), np.zeros(4, np.uint8)])
    hashed = _hashed(padded, ends[:-1], lengths)
    for place in np.flatnonzero(lengths > LONGEST).tolist():
        hashed[place] = murmur2(bytes(padded[ends[place] : ends[place + 1]]))
    return ((hashed & 0x7FFFFFFF) % partitions).astype(np.int64)


def _hashed(data: Any, begins: Any, lengths: Any) -> Any:
    """Return the hashes of the bytes at places, of long ones those of a part."""
    multiplier = np.uint32(MULTIPLIER)
    hashed = np.uint32(SEED) ^ lengths.astype(np.uint32)
    words = np.minimum(lengths, LONGEST) // 4
    for number in range(int(words.max(initial=0))):
        there = number < words
        word = _word(data, begins + 4 * number, 4, there) * multiplier
        word = (word ^ (word >> 24)) * multiplier
        hashed = np.where(there, (hashed * multiplier) ^ word, hashed)
    left = lengths % 4
    for bytes_left in (1, 2, 3):
        there = left == bytes_left
        if there.any():
            tail = _word(data, begins + (lengths - left), bytes_left, there)
            hashed = np.where(there, (hashed ^ tail) * multiplier, hashed)
    hashed = (hashed ^ (hashed >> 13)) * multiplier
    return hashed ^ (hashed >> 15)


def _word(data: Any, places: Any, count: int, there: Any) -> Any:
    """Return `count` bytes at places, as little-endian numbers, for the rows that are there."""
    places = np.where(there, places, 0)
    word = data[places].astype(np.uint32)
    for number in range(1, count):
        word |= data[places + number].astype(np.uint32) << np.uint32(8 * number)
    return word
