"""A check of co-partitioning: whether topics that meet in a step place equal keys alike.

Topics with equal partition counts still cannot be joined if their producers choose partitions differently: the Java
client and Tidemill hash keys by murmur2, librdkafka and clients that are built on it by CRC32 by default. The check
covers the first records of each partition, and later one record per batch. If a repartition topic is among those that
meet, keys must be placed by murmur2. If only input topics meet, any partitioner that is common to them is accepted.
"""

from __future__ import annotations

from typing import Final

from ...operators.graph.topology import Repartition
from ...operators.record import Batch
from ..kafka.partitioners import MURMUR2, PARTITIONERS
from ..plan.plan import SubTopology

__all__ = ["PartitionerCheck", "meetings"]

FIRST: Final = 64
"""The number of records of a partition to check before the check covers one per batch."""
ENOUGH: Final = 16
"""The number of different keys after which the partitioner of an input topic is known."""


def meetings(subtopology: SubTopology) -> dict[str, tuple[str, ...]]:
    """Return the topics that must be co-partitioned, by the step in which they meet."""
    reading: dict[int, list[str]] = {}
    for topic, node in subtopology.inputs:
        reading.setdefault(node.id, []).append(topic)
    inside = {node.id: node for node in subtopology.nodes}
    found: dict[str, tuple[str, ...]] = {}
    for step in subtopology.nodes:
        topics: dict[str, None] = {}
        pending = [edge.node for edge in step.inputs] if step.keyed else []
        while pending:
            number = pending.pop()
            if number in reading:
                topics.update(dict.fromkeys(reading[number]))
            else:
                pending += [edge.node for edge in inside[number].inputs]
        if len(topics) > 1:
            found[step.name] = tuple(topics)
    return found


class KeySample:
    """The records of one partition that were checked."""

    __slots__ = ("keys", "looked", "ways")

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.looked = 0
        self.ways = set(PARTITIONERS)
        """The partitioners that explain the positions of all keys so far."""

    def add(self, key: bytes, partition: int, partitions: int) -> None:
        self.ways = {way for way in self.ways if PARTITIONERS[way](key, partitions) == partition}
        if len(self.keys) < ENOUGH:
            self.keys.add(key)

    @property
    def known(self) -> bool:
        """Whether enough keys were checked to know the partitioner."""
        return len(self.keys) >= ENOUGH


class PartitionerCheck:
    """Checks records on their way to the tasks of a process."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[SubTopology, dict[str, tuple[str, ...]]]] = {}
        self._samples: dict[tuple[str, int], KeySample] = {}
        self._warned: set[str] = set()

    def look(self, subtopology: SubTopology, batch: Batch) -> str | None:
        """Return an error message if a record of the batch is in the wrong partition.

        Returns None if none is, or if the topic was reported before.
        """
        known = self._parts.get(subtopology.id)
        if known is None or known[0] is not subtopology:
            known = self._parts[subtopology.id] = (subtopology, meetings(subtopology))
        steps = [step for step, topics in known[1].items() if batch.topic in topics] if known[1] else ()
        partitions = subtopology.topic_partitions[batch.topic]
        if not steps or partitions < 2 or batch.topic in self._warned:
            return None
        sample = self._samples.setdefault((batch.topic, batch.partition), KeySample())
        some = batch.keys[: max(1, FIRST - sample.looked)]
        sample.looked += len(some)
        for key in filter(None, some):  # null and empty keys may be in any partition
            sample.add(key, batch.partition, partitions)
            for step in steps:
                text = self._judged(subtopology, step, known[1][step], (batch.topic, batch.partition), key, partitions)
                if text is not None:
                    self._warned.add(batch.topic)
                    return text
        return None

    def _judged(
        self,
        subtopology: SubTopology,
        step: str,
        topics: tuple[str, ...],
        here: tuple[str, int],
        key: bytes,
        partitions: int,
    ) -> str | None:
        """Return an error message if `key`, the last one checked, contradicts the other topics."""
        topic, partition = here
        sample = self._samples[here]
        nodes = dict(subtopology.inputs)
        for other in topics:
            if isinstance(nodes[other], Repartition):
                if MURMUR2 in sample.ways:
                    continue
                pairs = [(topic, (key,), other, MURMUR2)]
            else:
                peer = self._samples.get((other, partition))
                if other == topic or peer is None or not (peer.known and sample.known) or sample.ways & peer.ways:
                    continue
                pairs = [(topic, (key, *sample.keys), other, way) for way in peer.ways]
                pairs += [(other, tuple(peer.keys), topic, way) for way in sample.ways]
            for wrong, keys, right, way in pairs:
                for found in keys:
                    expected = PARTITIONERS[way](found, partitions)
                    if expected != partition:
                        return misplaced(wrong, step, right, found, partition, expected, way)
        return None


def misplaced(topic: str, step: str, other: str, key: bytes, partition: int, expected: int, way: str) -> str:
    """Make the message for a key in another partition than in the other topics of a step."""
    return (
        f"step {step!r} cannot process the records of one key together: in topic {topic!r} the key {key!r} is in "
        f"partition {partition}, in topic {other!r} it is in partition {expected} ({way}). Their producers choose "
        "partitions in different ways: confluent-kafka and other clients based on librdkafka hash keys by CRC32 "
        "by default, Java and Tidemill by murmur2. Put .repartition() after the source of "
        f"{topic!r}, or set partitioner=murmur2_random in its producer and write the topic again"
    )
