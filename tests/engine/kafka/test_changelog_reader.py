"""Tests of stalled changelog partitions: they are assigned again, and then read with a new client."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tidemill.engine.clock import ManualClock
from tidemill.engine.kafka import changelog_reader
from tidemill.engine.kafka.changelog_reader import ChangelogReader
from tidemill.engine.kafka.consumer import Polled
from tidemill.operators.record import Batch
from tidemill.state.topic_partition import TopicPartition

A, B = ("a", 0), ("b", 3)


class Client:
    """Delivers the given records, and records the calls."""

    def __init__(self, _options: object) -> None:
        self.gone: set[str] = set()
        self.ends: dict[TopicPartition, int] = {}
        self.next = Polled([], {})
        self.told: list[tuple[str, dict[TopicPartition, int]]] = []
        self.assigned: set[TopicPartition] = set()

    def end(self, key: TopicPartition) -> int:
        return self.ends.get(key, -1)

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.assigned.update(offsets)

    def unassign(self, keys: list[TopicPartition]) -> None:
        self.assigned.difference_update(keys)

    def rewind(self, offsets: dict[TopicPartition, int]) -> None:
        self.told.append(("rewind", offsets))

    def replace(self, offsets: dict[TopicPartition, int]) -> None:
        assert offsets.keys() == self.assigned
        self.told.append(("replace", offsets))

    def poll(self, _limit: int, _timeout: float) -> Polled:
        polled, self.next = self.next, Polled([], {})
        return polled

    def close(self) -> None: ...


class PartitionProgress:
    """A reader that is polled once a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.client = Client({})
        monkeypatch.setattr(changelog_reader, "InputConsumer", lambda _options: self.client)
        self.clock = ManualClock(0)
        self.reader = ChangelogReader({}, self.clock)

    def poll(self, seconds: int, polled: Polled | None = None) -> list[int]:
        """Polls for some seconds; `polled` is delivered each time. Returns in which seconds the client was told
        something."""
        when: list[int] = []
        told = len(self.client.told)
        for second in range(seconds):
            self.client.next = polled or Polled([], {})
            self.reader.poll(10, 0)
            when += [second] * (len(self.client.told) - told - len(when))
            self.clock.sleep(1000)
        return when


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> PartitionProgress:
    return PartitionProgress(monkeypatch)


def records(key: TopicPartition, *offsets: int) -> Batch:
    count = len(offsets)
    return Batch(*key, [b"k"] * count, [b"v"] * count, [0] * count, list(offsets), None, 2 * count)


def test_a_silent_changelog_is_read_again_and_then_by_a_new_client(reading: PartitionProgress) -> None:
    reading.reader.assign({A: 5, B: 0})
    assert reading.poll(150, Polled([], {B: 9})) == [60, 90, 120]
    assert reading.client.told == [("rewind", {A: 5}), ("replace", {A: 5, B: 9}), ("replace", {A: 5, B: 9})]


def test_it_is_read_again_from_behind_what_was_delivered(reading: PartitionProgress) -> None:
    reading.reader.assign({A: 5})
    reading.poll(1, Polled([records(A, 5, 6, 8)], {A: 6}))  # the end was reached before the last record was written
    reading.client.ends[A] = 20
    reading.poll(62)
    assert reading.client.told == [("rewind", {A: 9})]
    reading.poll(1, Polled([records(A, 9)], {}))
    reading.poll(1, Polled([], {A: 20}))  # ten transaction markers
    assert reading.poll(600) == []


def test_a_changelog_that_is_not_read_any_more_is_not_missed(reading: PartitionProgress) -> None:
    reading.reader.assign({A: 5, B: 0})
    reading.poll(50, Polled([], {B: 9}))
    reading.reader.unassign([A])
    assert reading.poll(100, Polled([], {B: 9})) == []
    reading.reader.assign({A: 5})
    assert reading.poll(59, Polled([], {B: 9})) == []
    reading.reader.unassign([A, B])
    assert reading.poll(100) == []
