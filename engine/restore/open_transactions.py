"""Says what a reader of committed records waits for: a transaction that somebody has left open.

Records after the beginning of an open transaction are not given out before it ends, whoever wrote them, and its owner
may be a stranger that never ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from ..clock import Clock

__all__ = ["Waits"]

LOG = logging.getLogger("tidemill.recovery")
Key = tuple[str, int]
SAY_AFTER_MS = 20_000
SAY_EVERY_MS = 30_000


class Waits:
    """Partitions that are read as far as they can be, with records that cannot be read yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[Key, tuple[int, int]] = {}
        """By partition the offset that is waited for, and since when."""
        self._said: dict[Key, int] = {}

    def seen(self, positions: Mapping[Key, int], stable: Mapping[Key, int], ends: Mapping[Key, int]) -> None:
        """Takes how far partitions are read, to where they can be read, and where they end. Says what waits for long,
        now and then."""
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
                    "says whose it is",
                    *key,
                    ends[key] - at,
                    at,
                    (now - since) // 1000,
                    *key,
                    extra={"topic": key[0], "partition": key[1], "offset": at},
                )
