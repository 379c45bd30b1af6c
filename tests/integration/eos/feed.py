"""Write random input continuously, with a plain producer in a separate thread.

Keys repeat; values are random and unique, so that each record can be identified in any output. Partitions are chosen as
by the engine (murmur2 of the key), so that results are in the partition of their input.
"""

from __future__ import annotations

import random
import struct
import threading
import time
from itertools import pairwise
from typing import Any, Protocol

from confluent_kafka import Producer

LATEST = 1 << 20
"""The number of unique values of a feed."""
RESOLUTION_SECONDS = 0.01
"""The resolution of delivery times."""


def encode(value: int) -> bytes:
    """Encode a signed integer in eight bytes, as Kafka's LongSerializer does."""
    return struct.pack(">q", value)


def decode(raw: bytes) -> int:
    return struct.unpack(">q", raw)[0]


class Records(Protocol):
    """The interface of generated records."""

    made: int
    """The number of records so far."""

    def record(self) -> tuple[bytes, bytes]:
        """Return key and value of the next record."""
        ...


class Inputs:
    """Random records, which are determined by the seed."""

    def __init__(self, seed: int, keys: int) -> None:
        self._random = random.Random(seed)
        self._keys = [f"key-{number:05d}".encode() for number in range(keys)]
        self.made = 0

    def next(self) -> tuple[bytes, int]:
        """Return a random key and a random unused value."""
        if self.made == LATEST:
            raise RuntimeError(f"the feed has given all its {LATEST} values; lower its rate")
        value = self._random.getrandbits(24) << 20 | self.made
        self.made += 1
        return self._random.choice(self._keys), value

    def record(self) -> tuple[bytes, bytes]:
        """Return the next record, encoded."""
        key, value = self.next()
        return key, encode(value)


class Feed:
    """Writes `rate` records a second to a topic until `stop`."""

    def __init__(
        self, broker: str, topic: str, *, rate: int, seed: int = 0, keys: int = 1, records: Records | None = None
    ) -> None:
        """Write random inputs with this number of keys from a seed, or the given `records`."""
        self.topic = topic
        self._inputs: Records = records or Inputs(seed, keys)
        self._rate = rate
        self._failed: list[str] = []
        self._deliveries: dict[int, list[float]] = {}
        """The times at which Kafka accepted records, by partition."""
        self._stopping = threading.Event()
        self._producer = Producer(
            {
                "bootstrap.servers": broker,
                "enable.idempotence": True,
                "linger.ms": 5,
                "partitioner": "murmur2",
                "log_level": 0,
            }
        )
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def made(self) -> int:
        """Records written so far."""
        return self._inputs.made

    def silences(self, partitions: int, begin: float, end: float) -> list[float]:
        """Return the longest time, in seconds, in which Kafka accepted no record of each partition, between two
        monotonic times. No application can have shorter gaps than these."""
        found: list[float] = []
        for number in range(partitions):
            within = [at for at in self._deliveries.get(number, []) if begin < at < end]
            found.append(max(two - one for one, two in pairwise([begin, *within, end])))
        return found

    def stop(self) -> None:
        """Stop the input, and wait until all records are acknowledged."""
        self._stopping.set()
        self._thread.join(30)
        left = self._producer.flush(60)
        if left or self._failed or self._thread.is_alive():
            raise RuntimeError(f"the feed could not write its input: {left} records left, errors {self._failed[:3]}")

    def _run(self) -> None:
        begin = time.monotonic()
        while not self._stopping.is_set():
            due = int((time.monotonic() - begin) * self._rate)
            while self._inputs.made < due:
                self._write(*self._inputs.record())
            self._producer.poll(0)
            self._stopping.wait(0.02)

    def _write(self, key: bytes, value: bytes) -> None:
        while True:
            try:
                self._producer.produce(self.topic, value, key, on_delivery=self._delivered)
            except BufferError:  # the broker is unavailable: wait for it
                self._producer.poll(0.1)
            else:
                return

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None:
            self._failed.append(str(error))
            return
        deliveries, now = self._deliveries.setdefault(message.partition(), []), time.monotonic()
        if not deliveries or now - deliveries[-1] > RESOLUTION_SECONDS:
            deliveries.append(now)
