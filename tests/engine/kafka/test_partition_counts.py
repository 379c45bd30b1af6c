"""Tests of key partitioning as in the Java client, with partition counts cached per topic until it grows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tidemill.engine.kafka import partition_counts
from tidemill.engine.kafka.murmur2 import murmur2_partition
from tidemill.engine.kafka.partition_counts import REFRESH_SECONDS, PartitionCounts

KEYS = [b"key-%d" % number for number in range(50)]


class Topics:
    """The metadata of some topics."""

    def __init__(self, **counts: int) -> None:
        self.counts = counts
        self.asked: list[str] = []

    def __call__(self, topic: str, seconds: float) -> Any:
        self.asked.append(topic)
        found = SimpleNamespace(error=None, partitions=dict.fromkeys(range(self.counts[topic])))
        return SimpleNamespace(topics={topic: found})


def test_each_topic_has_its_own_count_which_is_requested_once() -> None:
    topics = Topics(a=4, b=7)
    counts = PartitionCounts(topics)
    for _ in range(2):
        for topic, count in topics.counts.items():
            assert list(map(counts.chooser(topic), KEYS)) == [murmur2_partition(key, count) for key in KEYS]
    assert topics.asked == ["a", "b"]
    assert counts.topics == {"a", "b"}


def test_a_topic_that_has_grown_is_detected() -> None:
    now = [0.0]
    topics = Topics(a=4)
    counts = PartitionCounts(topics, lambda: now[0])
    choose = counts.chooser("a")
    list(map(choose, KEYS))
    topics.counts["a"] = 8
    counts.refresh()
    assert list(map(choose, KEYS)) == [murmur2_partition(key, 4) for key in KEYS], (
        "the count was requested again too early"
    )
    now[0] = REFRESH_SECONDS
    counts.refresh()
    assert list(map(choose, KEYS)) == [murmur2_partition(key, 8) for key in KEYS]


def test_the_number_of_cached_keys_is_limited(monkeypatch: Any) -> None:
    monkeypatch.setattr(partition_counts, "REMEMBERED", 10)
    counts = PartitionCounts(Topics(a=4))
    choose = counts.chooser("a")
    assert list(map(choose, KEYS)) == [murmur2_partition(key, 4) for key in KEYS]
    assert len(counts._chosen["a"]) <= 10
