"""The ways in which clients choose the partition of a key."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from .murmur2 import murmur2_partition

__all__ = ["MURMUR2", "PARTITIONERS", "Partitioner"]

Partitioner = Callable[[bytes, int], int]
MURMUR2: Final = "murmur2"
"""That of Tidemill and of Java's client."""
PARTITIONERS: Final[Mapping[str, Partitioner]] = {
    MURMUR2: murmur2_partition,
    "CRC32": lambda key, partitions: zlib.crc32(key) % partitions,
}
"""Partitioners by name. The second is the default of librdkafka and of clients that are built on it."""
