"""How much memory the entries of a cache take: measured for a few, which stand for all.

The encoded size of each entry is known. What its objects take is some bytes for each of those, which differs from
store to store: a dict of ten fields is ten times larger than its JSON, a text hardly larger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice, repeat
from sys import getsizeof
from typing import Any

__all__ = ["Sizes", "footprint"]

SLOTS = 160
"""Bytes of memory an entry takes in the dicts of a cache."""
OBJECTS = 100
"""Bytes of memory the objects of an entry take however short it is encoded."""
SAMPLE = 8
"""Entries that are measured."""
AGAIN = 64
"""Commits after which entries are measured again."""

LOOKED_AT = 32
"""Items of a container that are measured; the others are taken to be like them."""
DEPTH = 8
EMPTY: tuple[()] = ()
"""There is one empty tuple."""
SHARED_TEXT = 32
"""The keys of dicts up to this length are shared between the dicts that a decoder makes."""


class Sizes(dict[Any, int]):
    """The encoded sizes of clean entries by key, those loaded or settled longest ago first."""

    __slots__ = ("_growth", "_measure_at", "_measured", "_settled", "encoded")

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0
        """The sum of all."""
        self._growth = 1.0  # bytes of objects for a byte that is encoded, beyond `OBJECTS`
        self._measured = False  # until then that is a guess
        self._settled = 0  # commits since it was measured
        self._measure_at = 1  # it is measured again when there are this many

    def add(self, key: Any, size: int) -> None:
        """An entry is loaded."""
        self[key] = size
        self.encoded += size

    def settle(self, sealed: Mapping[Any, int]) -> None:
        """Entries are committed."""
        self.encoded += sum(sealed.values()) - sum(map(self.pop, sealed, repeat(0)))
        self.update(sealed)
        self._settled += 1

    def drop(self, key: Any) -> None:
        """An entry leaves."""
        self.encoded -= self.pop(key, 0)

    def clear(self) -> None:
        super().clear()
        self.encoded = 0

    def memory_of(self, size: int) -> float:
        """Bytes of memory an entry of an encoded size takes."""
        return SLOTS + OBJECTS + self._growth * size

    def memory(self, entries: Mapping[Any, Any], mean: float) -> int:
        """Bytes of memory the entries take, those without a size being of the `mean` one."""
        if self._settled >= AGAIN or len(self) >= self._measure_at:
            self._measure(entries)
        new = max(len(entries) - len(self), 0)
        return int(len(entries) * (SLOTS + OBJECTS) + self._growth * (self.encoded + new * mean))

    def _measure(self, entries: Mapping[Any, Any]) -> None:
        newest = islice(reversed(self), 4 * SAMPLE)
        sample = list(islice((key for key in newest if entries[key] is not None), SAMPLE))
        if sample:
            taken = sum(footprint(key) + footprint(entries[key]) for key in sample) - OBJECTS * len(sample)
            growth = max(taken, 0) / (sum(self[key] for key in sample) or 1)
            self._growth = (self._growth + growth) / 2 if self._measured else growth
            self._measured = True
        self._settled = 0
        self._measure_at = len(self) * 2 or 1


def footprint(value: Any, depth: int = DEPTH) -> int:
    """The bytes a value and all that hangs on it take, as the allocator hands them out."""
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
