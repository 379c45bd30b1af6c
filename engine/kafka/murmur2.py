"""The Java client's default partitioner, for keys that librdkafka must not hash itself.

The algorithm is murmur2 by Austin Appleby (public domain) with the seed and the sign handling of Apache Kafka's
`org.apache.kafka.common.utils.Utils.murmur2`.
"""

from __future__ import annotations

__all__ = ["murmur2", "murmur2_partition"]

MASK = 0xFFFFFFFF
MULTIPLIER = 0x5BD1E995
SEED = 0x9747B28C


def murmur2(data: bytes) -> int:
    """Return the 32-bit hash, unsigned."""
    length = len(data)
    hashed = SEED ^ length
    whole = length & ~3
    for index in range(0, whole, 4):
        word = int.from_bytes(data[index : index + 4], "little") * MULTIPLIER & MASK
        word = (word ^ word >> 24) * MULTIPLIER & MASK
        hashed = (hashed * MULTIPLIER & MASK) ^ word
    if length > whole:
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * MULTIPLIER & MASK
    hashed = (hashed ^ hashed >> 13) * MULTIPLIER & MASK
    return hashed ^ hashed >> 15


def murmur2_partition(key: bytes, partitions: int) -> int:
    """Return the partition that Java's and librdkafka's murmur2 partitioners choose for a key."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
