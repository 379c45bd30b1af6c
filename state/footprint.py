"""Memory taken by the entries of a cache, estimated from a sample.

The encoded size of each entry is known. The memory of its objects is estimated as bytes per encoded byte, a ratio that
differs from store to store: a dict of ten fields is ten times larger than its JSON, a string hardly larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice, repeat
from sys import getsizeof
from typing import Any

__all__ = ["OBJECTS", "Growth", "Sizes", "footprint"]

SLOTS = 160
"""Bytes of memory an entry takes in the dicts of a `StateCache`."""
OBJECTS = 100
"""Bytes of memory the objects of an entry take, however short its encoding is."""
SAMPLE = 8
"""Entries that are measured."""
AGAIN = 64
"""Commits after which entries are measured again."""

LOOKED_AT = 32
"""Items of a container that are measured; the others are assumed to be alike."""
DEPTH = 8
EMPTY: tuple[()] = ()
"""There is one empty tuple."""
SHARED_TEXT = 32
"""The keys of dicts up to this length are shared between the dicts that a decoder makes."""


class Growth:
    """The bytes of objects per encoded byte of an entry, beyond `OBJECTS`."""

    __slots__ = ("_measure_at", "_measured", "_settled", "value")

    def __init__(self) -> None:
        self.value = 1.0
        self._measured = False  # whether `value` was measured; 1.0 is a guess
        self._settled = 0  # commits since the last measurement
        self._measure_at = 1  # number of entries at which it is measured again

    def complete_commit(self) -> None:
        """Count a commit of entries."""
        self._settled += 1

    def due(self, count: int) -> bool:
        """Return whether to measure again, with this number of entries."""
        return self._settled >= AGAIN or count >= self._measure_at

    def measure(self, sample: Iterable[tuple[Any, Any, int]], count: int) -> None:
        """Measure the first of these keys, values and encoded sizes, of `count` entries in all."""
        measured = list(islice(sample, SAMPLE))
        if measured:
            taken = sum(footprint(key) + footprint(value) for key, value, _ in measured) - OBJECTS * len(measured)
            growth = max(taken, 0) / (sum(size for _, _, size in measured) or 1)
            self.value = (self.value + growth) / 2 if self._measured else growth
            self._measured = True
        self._settled = 0
        self._measure_at = count * 2 or 1


class Sizes(dict[Any, int]):
    """The encoded sizes of clean entries by key, those loaded or committed longest ago first."""

    __slots__ = ("_growth", "encoded")

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0
        """The sum of all."""
        self._growth = Growth()

    def add(self, key: Any, size: int) -> None:
        """Add an entry that was loaded."""
        self[key] = size
        self.encoded += size

    def complete_commit(self, drained: Mapping[Any, int]) -> None:
        """Add entries that were committed."""
        self.encoded += sum(drained.values()) - sum(map(self.pop, drained, repeat(0)))
        self.update(drained)
        self._growth.complete_commit()

    def drop(self, key: Any) -> None:
        """Remove an entry."""
        self.encoded -= self.pop(key, 0)

    def clear(self) -> None:
        super().clear()
        self.encoded = 0

    def memory_of(self, size: int) -> float:
        """Return the bytes of memory that an entry of an encoded size takes."""
        return SLOTS + OBJECTS + self._growth.value * size

    def memory(self, entries: Mapping[Any, Any], mean: float) -> int:
        """Return the bytes of memory of the entries; those without a size count as `mean`."""
        if self._growth.due(len(self)):
            newest = islice(reversed(self), 4 * SAMPLE)
            sample = ((key, entries[key], self[key]) for key in newest if entries[key] is not None)
            self._growth.measure(sample, len(self))
        new = max(len(entries) - len(self), 0)
        return int(len(entries) * (SLOTS + OBJECTS) + self._growth.value * (self.encoded + new * mean))


def footprint(value: Any, depth: int = DEPTH) -> int:
    """Return the bytes of memory of a value and all it references, rounded like the allocator."""
    if value is None or value is True or value is False or value is EMPTY or (type(value) is int and -6 < value < 257):
        return 0
    whole: Any = value
    size = getsizeof(whole, 64) + 15 & ~15
    if depth == 0 or isinstance(value, (str, bytes, int, float)):
        return size
    if isinstance(value, dict):
        keys = [key for key in islice(whole, LOOKED_AT) if type(key) is not str or len(key) > SHARED_TEXT]
        return size + _all(whole.values(), len(whole), depth) + _all(keys, len(keys), depth)
    if isinstance(value, (list, tuple, set, frozenset)):
        size += _all(whole, len(whole), depth)
    fields: tuple[str, ...] = getattr(whole, "__struct_fields__", ())
    size += sum(footprint(getattr(whole, field), depth - 1) for field in fields)
    attributes: dict[str, Any] | None = getattr(whole, "__dict__", None)
    return size if attributes is None else size + footprint(attributes, depth - 1)


def _all(items: Iterable[Any], count: int, depth: int) -> int:
    looked_at: list[Any] = list(islice(items, LOOKED_AT))
    total = sum(footprint(item, depth - 1) for item in looked_at)
    return total if count <= len(looked_at) or not looked_at else total * count // len(looked_at)
