"""The prefixes of keys that separate the stores of one database.

Each name has a number of two bytes.
"""

from __future__ import annotations

import msgspec

from .store import StateError

__all__ = ["LENGTH", "decode_prefixes", "encode_prefixes", "with_store"]

LENGTH = 2
MAX_STORES = 0xFFFE


def with_store(prefixes: dict[str, bytes], store: str) -> dict[str, bytes]:
    """Return the prefixes with a number for one more store, one that has no entries."""
    number = max((int.from_bytes(prefix, "big") for prefix in prefixes.values()), default=0) + 1
    if number > MAX_STORES:
        raise StateError(f"a task cannot have more than {MAX_STORES} stores")
    return {**prefixes, store: number.to_bytes(LENGTH, "big")}


def encode_prefixes(prefixes: dict[str, bytes]) -> bytes:
    """Return the numbers by name as they are stored."""
    return msgspec.json.encode({name: int.from_bytes(prefix, "big") for name, prefix in prefixes.items()})


def decode_prefixes(stored: bytes | None) -> dict[str, bytes]:
    """Return the prefixes that are stored; none if nothing is."""
    numbers = {} if stored is None else msgspec.json.decode(stored, type=dict[str, int])
    return {name: number.to_bytes(LENGTH, "big") for name, number in numbers.items()}
