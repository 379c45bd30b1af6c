"""murmur2 as the Java client computes it."""

from __future__ import annotations

import pytest

from tidemill.engine.kafka.murmur2 import murmur2, murmur2_partition

# From org.apache.kafka.common.utils.UtilsTest.testMurmur2 (Apache Kafka).
KNOWN = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", KNOWN)
def test_known_hashes(key: bytes) -> None:
    hashed = murmur2(key)
    assert (hashed if hashed < 1 << 31 else hashed - (1 << 32)) == KNOWN[key]


def test_partition_ignores_the_sign() -> None:
    assert murmur2_partition(b"21", 7) == (-973932308 & 0x7FFFFFFF) % 7
