"""Warnings about open transactions that a read-committed reader waits for.

Brokers deliver no record, of any producer, after the beginning of an open transaction until it ends. The transaction
may belong to another application, which may never end it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ...state.topic_partition import TopicPartition
from ..clock import Clock

__all__ = ["OpenTransactionWarnings"]

LOG = logging.getLogger("tidemill.recovery")
SAY_AFTER_MS = 20_000
SAY_EVERY_MS = 30_000


class OpenTransactionWarnings:
    """Logs partitions that are read up to the last stable offset but have more records."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[TopicPartition, tuple[int, int]] = {}
        """The last stable offset and since when it has blocked the reader, by partition."""
        self._said: dict[TopicPartition, int] = {}

    def seen(
        self,
        positions: Mapping[TopicPartition, int],
        stable: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
    ) -> None:
        """Record positions, last stable offsets and ends; warn periodically about long waits."""
        now = self._clock.monotonic()
        waiting = {key: at for key, at in stable.items() if positions[key] >= at < ends[key]}
        self._since = {
            key: before if (before := self._since.get(key)) and before[0] == at else (at, now)
            for key, at in waiting.items()
        }
        for key, (at, since) in self._since.items():
            if now - since >= SAY_AFTER_MS and now - self._said.get(key, -SAY_EVERY_MS) >= SAY_EVERY_MS:
                self._said[key] = now
                LOG.warning(
                    "topic %r, partition %d: %d records from offset %d on wait for a transaction that has been open "
                    "for more than %d s; it ends when its producer commits or aborts it, or by that producer's "
                    "transaction.timeout.ms. `kafka-transactions.sh describe-producers --topic %s --partition %d` "
                    "shows the producer",
                    *key,
                    ends[key] - at,
                    at,
                    (now - since) // 1000,
                    *key,
                    extra={"topic": key[0], "partition": key[1], "offset": at},
                )
