"""The codec of a store: how keys and values are encoded, and which bytes decide on the task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

__all__ = ["Codec", "Placement", "References", "Tally", "WindowCodec", "newest"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class WindowCodec:
    """The encoding of entries with keys `(start, key)`: of the keys, and of columns of values."""

    first: int
    """Windows start after this; entries with an earlier or equal start do not belong to a window."""
    encode_key: Callable[[Any], bytes]
    decode_key: Callable[[bytes], Any]
    encode_keys: Callable[[list[Any]], list[bytes]]
    """Encodes a column of keys as `encode_key` does."""
    encode_values: Callable[[list[Any]], list[bytes | None]]
    """Encodes a column of values in the stored form, including the version. Fails if a value cannot be encoded or is
    None."""


def newest(slot: Any, entries: Sequence[Any]) -> Any:
    """Return the largest of some entries, such as clocks."""
    return max(entries)


@dataclass(frozen=True, slots=True)
class Tally:
    """An entry of a task that counts the others, and is counted again when they move."""

    slot: Any
    zero: Callable[[Any], Any]
    """From the entry to one that counts nothing."""
    one: Callable[[Any, Any], Any]
    """From a slot and its entry to the count of that alone; None if it does not count."""


@dataclass(frozen=True, slots=True)
class References:
    """Values that name the partition of another key, which is in the encoded key of the entry."""

    key: Callable[[bytes], bytes]
    """From the encoded key of an entry to that other key, encoded."""
    suffix: int
    """Bytes of a window at the end of that key."""
    partition: Callable[[bytes], int]
    """From an encoded value to the partition."""
    moved: Callable[[bytes, int], bytes]
    """From an encoded value to that with another partition."""


@dataclass(frozen=True, slots=True)
class Placement:
    """How the entries of a store find their tasks, when their number changes."""

    key: Callable[[bytes, bytes], bytes | None]
    """From an encoded key and value to the key of the record, encoded, by whose partition the entry finds its task.

    None for an entry of the task itself, such as its stream time.
    """
    suffix: int = 0
    """Bytes of a window at the end of that key, which may or may not count for the partition."""
    merged: Callable[[Any, Sequence[Any]], Any] = newest
    """From the slot and the entries of several tasks themselves to that of their successor."""
    tally: Tally | None = None
    references: References | None = None
    numbered: bool = False
    """True if slots are numbers in order of arrival, which can be given again; keys may be in any task."""
    unsent: Callable[[Any, Any], bool] | None = None
    """Returns whether the result of a slot was not sent yet, given the stream time of the task.

    Of windows whose results are sent once; None if all that is due is sent, whatever the time was before.
    """


@dataclass(frozen=True, slots=True)
class Codec(Generic[K, V]):
    """The encoding of keys and values. Encoded keys must sort in the order that scans need."""

    encode_key: Callable[[K], bytes]
    decode_key: Callable[[bytes], K]
    encode_value: Callable[[V], bytes]
    decode_value: Callable[[bytes], V]
    exact: bool = False
    """True if two keys are equal if, and only if, their bytes are, whatever the keys."""
    windows: WindowCodec | None = None
    """For keys `(start, key)` that a `WindowCache` keeps by window."""
    placement: Placement | None = None
    """None if it is not known to which task an entry belongs when their number changes."""
