"""A digest of the entries of a store that does not depend on their order or place. Pure."""

from __future__ import annotations

from hashlib import blake2b

__all__ = ["Digest"]

SIZE = 16
MODULUS = 1 << (8 * SIZE)


class Digest:
    """The number of entries, and the sum of their hashes."""

    def __init__(self) -> None:
        self.entries = 0
        self._sum = 0

    def add(self, key: bytes, value: bytes) -> None:
        """Add an entry."""
        self.entries += 1
        hashed = blake2b(len(key).to_bytes(8, "big") + key + value, digest_size=SIZE).digest()
        self._sum = (self._sum + int.from_bytes(hashed, "big")) % MODULUS

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Digest) and (self.entries, self._sum) == (other.entries, other._sum)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __str__(self) -> str:
        return f"{self._sum:0{2 * SIZE}x}"
