"""Reads changelog partitions for recovery: committed records only, from given offsets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import Fatal
from .consumer import InputConsumer, Polled
from .stalled_partitions import PartitionProgress, StallDetector

__all__ = ["ChangelogReader"]

LOG = logging.getLogger("tidemill.recovery")


class ChangelogReader:
    """A consumer that exists while changelogs are read: most processes restore only at startup.

    Partitions that `stalled_partitions.py` finds silent are read again, and by a new client if that has not helped.
    """

    def __init__(self, options: Mapping[str, Any], clock: Clock) -> None:
        self._options = options
        self._clock = clock
        self._consumer: InputConsumer | None = None
        self._positions: dict[TopicPartition, int] = {}
        """The next offset of each partition that is being read."""
        self._stalls = StallDetector()

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Start reading these partitions, in addition to the others."""
        if not offsets:
            return
        if self._consumer is None:
            self._consumer = InputConsumer(self._options)
        self._consumer.assign(offsets)
        self._positions.update(offsets)

    def unassign(self, keys: Iterable[TopicPartition]) -> None:
        """Stop reading these partitions; the consumer is closed with the last of them."""
        keys = [key for key in keys if key in self._positions]
        if self._consumer is None or not keys:
            return
        self._consumer.unassign(keys)
        self._stalls.forget(keys)
        for key in keys:
            del self._positions[key]
        if not self._positions:
            self.close()

    def poll(self, limit: int, timeout: float) -> Polled:
        """Return what has arrived; wait up to `timeout` seconds if nothing has."""
        if self._consumer is None:
            return Polled([], {})
        self._restart_stalled(self._consumer)
        polled = self._consumer.poll(limit, timeout)
        if self._consumer.gone:
            raise Fatal(f"the topic {', '.join(sorted(self._consumer.gone))} does not exist any more")
        for batch in polled.batches:
            self._positions[batch.topic, batch.partition] = batch.offsets[-1] + 1
            self._stalls.note(batch.topic, batch.partition)
        for key, end in polled.ends.items():  # records after an end may be in the same poll
            self._positions[key] = max(end, self._positions.get(key, 0))
        self._stalls.ended(polled.ends)
        return polled

    def _restart_stalled(self, consumer: InputConsumer) -> None:
        now = self._clock.monotonic()
        if not self._stalls.due(now):
            return
        readings = {key: PartitionProgress(at, consumer.end(key), waits=False) for key, at in self._positions.items()}
        restart = self._stalls.restart(readings, now)
        if restart is None:
            return
        LOG.warning("%s", restart.message)
        if restart.new_client:
            consumer.replace(restart.offsets)
        else:
            consumer.rewind(restart.offsets)

    def end(self, key: TopicPartition) -> int:
        """Return the last known end offset; -1 if it is not known."""
        return -1 if self._consumer is None else self._consumer.end(key)

    def close(self) -> None:
        """Close the consumer, if there is one."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
            self._stalls.forget(self._positions)
            self._positions.clear()
