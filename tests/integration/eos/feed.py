"""Random input that goes in without pause: a bare producer on a thread of its own.

Keys repeat, values are random and each is used once, so that any record can be told from any other wherever it turns
up. Partitions are chosen as the engine chooses them (murmur2 of the key), so that results lie beside their causes.
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
"""How many values one feed can tell apart."""
RESOLUTION_SECONDS = 0.01
"""Of the moments at which records were delivered."""


def encode(value: int) -> bytes:
    """The eight bytes of a signed integer, as Kafka's own long serialiser writes them."""
    return struct.pack(">q", value)


def decode(raw: bytes) -> int:
    return struct.unpack(">q", raw)[0]


class Records(Protocol):
    """What a feed writes."""

    made: int
    """How many there were so far."""

    def record(self) -> tuple[bytes, bytes]:
        """Key and value of the next one."""
        ...


class Inputs:
    """The records themselves: the same seed gives the same ones."""

    def __init__(self, seed: int, keys: int) -> None:
        self._random = random.Random(seed)
        self._keys = [f"key-{number:05d}".encode() for number in range(keys)]
        self.made = 0

    def next(self) -> tuple[bytes, int]:
        """A random key and a random value that was not used before."""
        if self.made == LATEST:
            raise RuntimeError(f"the feed has given all its {LATEST} values; lower its rate")
        value = self._random.getrandbits(24) << 20 | self.made
        self.made += 1
        return self._random.choice(self._keys), value

    def record(self) -> tuple[bytes, bytes]:
        """The next one as it is written."""
        key, value = self.next()
        return key, encode(value)


class Feed:
    """Writes `rate` records a second to a topic until `stop`."""

    def __init__(
        self, broker: str, topic: str, *, rate: int, seed: int = 0, keys: int = 1, records: Records | None = None
    ) -> None:
        """Random inputs of a seed over so many keys, or the `records` given."""
        self.topic = topic
        self._inputs: Records = records or Inputs(seed, keys)
        self._rate = rate
        self._failed: list[str] = []
        self._deliveries: dict[int, list[float]] = {}
        """When Kafka took something, by partition."""
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
        """The longest time for which Kafka took no record of each partition, between two moments of the monotonic
        clock, in seconds. No application can be quicker than that."""
        found: list[float] = []
        for number in range(partitions):
            within = [at for at in self._deliveries.get(number, []) if begin < at < end]
            found.append(max(two - one for one, two in pairwise([begin, *within, end])))
        return found

    def stop(self) -> None:
        """Ends the input; everything that was written is on the broker when this returns."""
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
            except BufferError:  # the broker is away: wait for it
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
