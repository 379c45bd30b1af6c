"""Where the rows of a table are, for `@app.table_route`.

A key of a table is in the partition of the event that has written it. That is the one in which the topic with most
partitions has the key, as this topic encodes it; Faust takes the table's encoding, which is another one for text. Which
worker has a partition is known from the topic of `whereabouts.py`; Faust passes the request on to that worker. A
request for a partition without a known worker is answered with 503.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .tasks import library
from .tasks.work import TaskWork
from .whereabouts import Whereabouts

__all__ = ["TaskRouter"]


class TaskRouter(library.Router):
    """Finds the worker that has a key: this one or none."""

    def __init__(self, app: Any, works: Callable[[], list[TaskWork]], whereabouts: Whereabouts) -> None:
        self.app = app
        self._works = works
        self._whereabouts = whereabouts

    def key_store(self, table_name: str, key: Any) -> Any:
        """Return the URL of the worker that has a key; raise KeyError if none is known."""
        topic: Any = self.app.topics.widest(self.app.producer.count)
        name: str = next(iter(topic.topics))
        return self._place(name, topic.prepare_key(key, None)[0])

    def external_topic_key_store(self, topic: Any, key: Any) -> Any:
        """Return the URL of the worker that processes a key; raise KeyError if none is known."""
        return self._place(topic.get_topic_name(), topic.prepare_key(key, None)[0])

    def table_metadata(self, table_name: str) -> Any:
        """Return the partitions of a table by the URL of the worker that has them."""
        name: str = self._get_table(table_name).changelog_topic.get_topic_name()
        return {str(url): {name: partitions} for url, partitions in self._everywhere().items()}

    def tables_metadata(self) -> Any:
        """Return the partitions of all tables by the URL of the worker that has them."""
        parts = [self.table_metadata(name) for name in self.app.tables]
        urls = {url for part in parts for url in part}
        return {url: {k: v for part in parts for k, v in part[url].items()} for url in urls}

    def external_topics_metadata(self) -> Any:
        """Return the partitions that this worker has of all topics, by its URL."""
        topics: dict[str, list[int]] = {}
        for tp in sorted(self.app.consumer.assignment()):
            topics.setdefault(tp.topic, []).append(tp.partition)
        return {str(self.app.conf.canonical_url): topics}

    def _everywhere(self) -> dict[Any, list[int]]:
        here = sorted(work.partition for work in self._works())
        found = {
            url: [partition for partition in partitions if partition not in here]
            for url, partitions in self._whereabouts.others().items()
            if url != self.app.conf.canonical_url
        }
        return {self.app.conf.canonical_url: here, **found}

    def _place(self, topic: str, key: bytes | str) -> Any:
        data = key.encode() if isinstance(key, str) else key
        partition = self.app.producer.key_partition(topic, data).partition
        if partition in {work.partition for work in self._works()}:
            return self.app.conf.canonical_url
        url = self._whereabouts.url(partition)
        if url is None or url == self.app.conf.canonical_url:  # the latter: it has left this worker
            raise KeyError(key)
        return url
