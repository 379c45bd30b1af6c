"""Compares what an application and its shadow write, while both run.

A round notes the ends of all outputs, waits until both applications have processed what is in their inputs by then,
and reads the outputs as they are after that. What was written before the noted ends has its counterpart now or never;
what was written later is judged in the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from ...operators.record import Batch
from ...state.topic_partition import TopicPartition
from ..clock import Clock
from ..errors import Fatal
from ..kafka.consumer import Polled
from ..plan.shadow_topics import shadow_topic
from ..snapshots.savepoint import Savepoint
from .matching import Output, SinkMatching

__all__ = ["ComparedSink", "Comparison", "ComparedTopics", "compared_sinks", "lag"]

BATCH = 5_000
WAIT_SECONDS = 0.1
POLL_MS = 100
REPARTITION = "-repartition"


class ComparedGroups(Protocol):
    """The offsets of groups."""

    def offsets(self, group: str) -> Mapping[TopicPartition, int]: ...


class ComparedTopics(Protocol):
    """The ends of topics."""

    def partitions(self) -> Mapping[str, int]: ...
    def ends(self, keys: Iterable[TopicPartition], *, committed: bool) -> Mapping[TopicPartition, int]: ...


class OutputRecords(Protocol):
    """A reader of committed records."""

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None: ...
    def unassign(self, keys: Iterable[TopicPartition]) -> None: ...
    def poll(self, limit: int, timeout: float) -> Polled: ...


@dataclass(frozen=True)
class ComparedSink:
    """An output topic, and the shadow topic of the other version."""

    topic: str
    shadow: str | None
    """None if the new version does not write this topic."""
    begin: Mapping[int, int] | None
    """Where the outputs after the savepoint begin, by partition; None if the old version does not write this topic."""

    def sources(self, counts: Mapping[str, int]) -> Iterator[tuple[int, TopicPartition, int]]:
        """Yield the partitions to read, each with its first offset.

        Those of the old version have the side 0, those of the new one 1.
        """
        begins: Mapping[int, int] = self.begin or {}
        for number, begin in begins.items():
            yield 0, (self.topic, number), begin
        for number in range(0 if self.shadow is None else counts[self.shadow]):
            yield 1, (self.shadow or "", number), 0


def compared_sinks(savepoint: Savepoint, new: str, existing: Iterable[str]) -> list[ComparedSink]:
    """Return the sinks of both versions; `existing` are all topics."""
    begins: dict[str, dict[int, int]] = {}
    for output in savepoint.outputs:
        begins.setdefault(output.topic, {})[output.partition] = output.end
    head, tail = shadow_topic(new, "\0").split("\0")
    topics = [name for name in existing if name.startswith(head) and name.endswith(tail)]
    shadows = {name[len(head) : -len(tail)]: name for name in topics}
    return [
        ComparedSink(topic, shadows.get(topic), begins.get(topic)) for topic in sorted(begins.keys() | shadows.keys())
    ]


def lag(ends: Mapping[TopicPartition, int], committed: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Return how many offsets each partition is behind, without those that are not."""
    return {key: end - at for key, end in ends.items() if (at := committed.get(key, 0)) < end}


class Comparison:
    """The comparison of two running applications."""

    def __init__(
        self,
        old: str,
        new: str,
        sinks: Iterable[ComparedSink],
        groups: ComparedGroups,
        topics: ComparedTopics,
        records: OutputRecords,
        clock: Clock,
        say: Callable[[str], None],
        most: int = 5,
    ) -> None:
        """Set it up; `most` is how many examples are kept, `say` shows the progress as a line."""
        self.results = {sink.topic: SinkMatching(most) for sink in sinks}
        """By output topic."""
        self._old, self._new = old, new
        self._groups = groups
        self._topics = topics
        self._records = records
        self._clock = clock
        self._say = say
        counts = topics.partitions()
        self._read: dict[TopicPartition, tuple[int, str]] = {}
        """The side and the output topic of each partition that is read."""
        self._next: dict[TopicPartition, int] = {}
        for sink in sinks:
            for side, key, begin in sink.sources(counts):
                self._read[key] = side, sink.topic
                self._next[key] = begin

    def round(self, timeout_ms: int) -> None:
        """Compare all that is written by now.

        Raises Fatal if an application does not process its input in time.
        """
        deadline = self._clock.monotonic() + timeout_ms
        bounds = self._topics.ends(self._next, committed=False)
        for application in (self._old, self._new):
            self._wait_for(application, deadline)
        self._read_until(self._topics.ends(self._next, committed=False), deadline)
        for topic, matching in self.results.items():
            found: tuple[dict[int, int], dict[int, int]] = ({}, {})
            for key, (side, of) in self._read.items():
                if of == topic:
                    found[side][key[1]] = bounds[key]
            matching.judge(found)

    def _wait_for(self, application: str, deadline: int) -> None:
        """Wait until an application has processed its inputs, and its repartition topics."""
        internal = f"{application}-", REPARTITION
        keys = self._groups.offsets(application).keys()
        own = [key for key in keys if key[0].startswith(internal[0]) and key[0].endswith(internal[1])]
        self._wait_at(application, [key for key in keys if key not in own], deadline)
        for _ in {topic for topic, _ in own}:  # one after the other, at the most
            self._wait_at(application, own, deadline)

    def _wait_at(self, application: str, keys: Iterable[TopicPartition], deadline: int) -> None:
        ends = self._topics.ends(keys, committed=True)
        while behind := lag(ends, self._groups.offsets(application)):
            (topic, number), count = max(behind.items(), key=lambda one: one[1])
            where = f"{application} is {count:,} offsets behind in topic {topic!r}, partition {number}"
            if self._clock.monotonic() > deadline:
                raise Fatal(
                    f"{where}, so there is nothing to compare yet. Start it if it does not run; --timeout waits longer"
                )
            self._say(f"waiting: {where}")
            self._clock.sleep(POLL_MS)

    def _read_until(self, ends: Mapping[TopicPartition, int], deadline: int) -> None:
        """Read all partitions up to these offsets."""
        left = {key: at for key, at in self._next.items() if at < ends[key]}
        self._records.assign(left)
        try:
            while left:
                polled = self._records.poll(BATCH, WAIT_SECONDS)
                for batch in polled.batches:
                    self._take(batch)
                for key, end in polled.ends.items():
                    self._next[key] = max(self._next.get(key, 0), end)
                done = [key for key in left if self._next[key] >= ends[key]]
                self._records.unassign(done)
                for key in done:
                    del left[key]
                if left and self._clock.monotonic() > deadline:
                    (topic, number), *_ = left
                    raise Fatal(f"topic {topic!r}, partition {number} cannot be read to its end in time")
        finally:
            self._records.unassign(left)

    def _take(self, batch: Batch) -> None:
        key = (batch.topic, batch.partition)
        side, topic = self._read[key]
        headers = batch.headers or [()] * len(batch.offsets)
        columns = zip(batch.offsets, batch.keys, batch.timestamps, batch.values, headers, strict=True)
        self.results[topic].add(side, [Output(batch.partition, *row) for row in columns])
        self._next[key] = batch.offsets[-1] + 1
