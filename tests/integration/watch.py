"""Observe the output of an application under faults: when each partition had new results.

Results have the timestamps of their inputs, so a result of a record that was written after a given time proves that the
partition is processed again, whatever was in flight before.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from itertools import pairwise

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition


class Moment:
    """A time on both clocks: `time.monotonic()` for durations, and the wall clock for record timestamps."""

    def __init__(self) -> None:
        self.monotonic = time.monotonic()
        self.wall = time.time()


class Watch:
    """Reads an output topic while the context is open."""

    def __init__(self, broker: str, topic: str, partitions: int) -> None:
        self._topic = topic
        self._arrivals: list[list[float]] = [[] for _ in range(partitions)]
        self._stamps: list[list[float]] = [[] for _ in range(partitions)]
        """The newest timestamp at the arrival of each record."""
        self.records = 0
        self._failure: BaseException | None = None
        self._stopping = threading.Event()
        self._consumer = Consumer(
            {
                "bootstrap.servers": broker,
                "group.id": "tests-watch",  # the group is never joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,
                "topic.metadata.refresh.interval.ms": 1000,
                "log_level": 0,
            }
        )
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._consumer.close()
        if self._failure is not None:
            raise self._failure

    def seen(self) -> list[bool]:
        """Return whether each partition has had a result."""
        return [bool(arrivals) for arrivals in self._arrivals]

    def back(self, partition: int, since: Moment) -> float | None:
        """Return the seconds from a time to the first result of a record written after it; None if none yet."""
        at = bisect_right(self._stamps[partition], since.wall)
        arrivals = self._arrivals[partition]
        return arrivals[at] - since.monotonic if at < len(arrivals) else None

    def wait_until_back(self, since: Moment, timeout: float) -> list[float]:
        """Wait until all partitions have new results, and return `back` of each."""
        deadline = time.monotonic() + timeout
        while True:
            found = [self.back(partition, since) for partition in range(len(self._arrivals))]
            done = [seconds for seconds in found if seconds is not None]
            if len(done) == len(found):
                return done
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{timeout:g} s after it, no new results in all partitions of {self._topic}: {found}"
                )
            time.sleep(0.02)

    def silence(self, partition: int, begin: float, end: float | None = None) -> float:
        """Return the longest time without a result between two monotonic times; `end` defaults to now."""
        end = time.monotonic() if end is None else end
        within = [at for at in self._arrivals[partition] if begin < at < end]
        return max(two - one for one, two in pairwise([begin, *within, end]))

    def silences(self, begin: float, end: float | None = None) -> list[float]:
        """Return `silence` of each partition."""
        return [self.silence(partition, begin, end) for partition in range(len(self._arrivals))]

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                for message in self._consumer.consume(1000, 0.02):
                    error = message.error()
                    if error is None:
                        self._arrived(message.partition() or 0, message.timestamp()[1] / 1000)
                    elif error.code() != KafkaError._PARTITION_EOF and not error.retriable():
                        raise RuntimeError(f"the watch of {self._topic} fails: {error}")
        except BaseException as failure:
            self._failure = failure

    def _arrived(self, partition: int, stamp: float) -> None:
        self.records += 1
        now = time.monotonic()
        arrivals, stamps = self._arrivals[partition], self._stamps[partition]
        newest = max(stamp, stamps[-1]) if stamps else stamp
        if arrivals and now - arrivals[-1] < 0.002:
            stamps[-1] = newest
        else:
            stamps.append(newest)
            arrivals.append(now)
