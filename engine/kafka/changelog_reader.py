"""Reads changelog partitions for recovery: committed records only, each partition from the offset it is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import Fatal
from .consumer import InputConsumer, Polled

__all__ = ["ChangelogReader"]

Key = tuple[str, int]


class ChangelogReader:
    """A consumer that is made when the first partition is assigned, since most processes restore only at the start."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._consumer: InputConsumer | None = None
        self._assigned: set[Key] = set()

    def assign(self, offsets: Mapping[Key, int]) -> None:
        """Begins to read these partitions, beside what is read already."""
        if not offsets:
            return
        if self._consumer is None:
            self._consumer = InputConsumer(self._options)
        self._consumer.assign(offsets)
        self._assigned.update(offsets)

    def unassign(self, keys: Iterable[Key]) -> None:
        """Stops reading these partitions; the consumer is closed with the last of them."""
        keys = [key for key in keys if key in self._assigned]
        if self._consumer is None or not keys:
            return
        self._consumer.unassign(keys)
        self._assigned.difference_update(keys)
        if not self._assigned:
            self.close()

    def poll(self, limit: int, timeout: float) -> Polled:
        """Takes what is there; waits up to `timeout` seconds when there is nothing."""
        if self._consumer is None:
            return Polled([], {})
        polled = self._consumer.poll(limit, timeout)
        if self._consumer.gone:
            raise Fatal(f"the topic {', '.join(sorted(self._consumer.gone))} does not exist any more")
        return polled

    def end(self, key: Key) -> int:
        """The end offset last heard of; -1 when not known."""
        return -1 if self._consumer is None else self._consumer.end(key)

    def close(self) -> None:
        """Closes the consumer, if there is one."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
