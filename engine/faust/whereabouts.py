"""Which worker has which partition, for pages of tables.

Each worker writes what it has to a topic that all read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..clock import SYSTEM
from ..kafka.direct_sender import DirectSender
from .tasks import library

__all__ = ["Whereabouts"]


class Whereabouts:
    """The URLs of workers by partition."""

    def __init__(self, app_id: str, sender: DirectSender, replication: int) -> None:
        """Create it; it begins with `start`."""
        self.topic = f"{app_id}-tidemill-web"
        self._sender = sender
        self._replication = replication
        self._urls: dict[int, Any] = {}
        self._started = False

    def start(self) -> None:
        """Read what the workers have written."""
        self._sender.ensure(self.topic, 1, self._replication, {"cleanup.policy": "compact"})
        self._sender.read(self.topic, self._received)
        self._started = True

    def tell(self, partitions: Collection[int], url: object) -> None:
        """Tell that this worker has partitions from now on."""
        if self._started:
            for partition in partitions:
                row = (str(partition).encode(), str(url).encode(), SYSTEM.now(), None, 0)
                self._sender.send(self.topic, row, ignored)

    def url(self, partition: int) -> Any:
        """Return the URL of the worker with a partition, None if it is not known."""
        return self._urls.get(partition)

    def others(self) -> dict[Any, list[int]]:
        """Return the partitions of each worker by its URL, as far as known."""
        found: dict[Any, list[int]] = {}
        for partition, url in sorted(self._urls.items()):
            found.setdefault(url, []).append(partition)
        return found

    def _received(self, key: bytes | None, value: bytes | None, headers: Any) -> None:
        if key and value:
            self._urls[int(key)] = library.URL(value.decode())


def ignored(partition: int, offset: int, failure: Exception | None) -> None:
    """Do nothing: a worker whose place is not known is answered for with 503."""
