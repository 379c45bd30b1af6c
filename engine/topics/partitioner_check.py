"""Do topics that meet in a step place keys alike? Found out by looking where records lie.

Topics with equal numbers of partitions can still not be joined when their producers choose partitions in other ways:
the Java client and Tidemill hash keys by murmur2, librdkafka and what is built on it by CRC32 unless told otherwise.
The first records of each partition are looked at, and one of each batch later. Where a repartition topic is one of
those that meet, keys must lie by murmur2. Where only input topics meet, any way will do that is common to them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Final

from ...operators.graph.topology import Repartition
from ...operators.record import Batch
from ..kafka.murmur2 import murmur2_partition
from ..plan.plan import SubTopology

__all__ = ["Placement", "meetings"]

FIRST: Final = 64
"""So many records of a partition are looked at before it is one a batch."""
ENOUGH: Final = 16
"""So many different keys tell how an input topic places them."""

MURMUR2: Final = "murmur2"
WAYS: Final[Mapping[str, Callable[[bytes, int], int]]] = {
    MURMUR2: murmur2_partition,
    "CRC32": lambda key, partitions: zlib.crc32(key) % partitions,
}


def meetings(part: SubTopology) -> dict[str, tuple[str, ...]]:
    """The topics whose records of one key must lie in one partition, by the step in which they meet."""
    reading: dict[int, list[str]] = {}
    for topic, node in part.inputs:
        reading.setdefault(node.id, []).append(topic)
    inside = {node.id: node for node in part.nodes}
    found: dict[str, tuple[str, ...]] = {}
    for step in part.nodes:
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


class Sample:
    """What was seen of one partition."""

    __slots__ = ("keys", "looked", "ways")

    def __init__(self) -> None:
        self.keys: set[bytes] = set()
        self.looked = 0
        self.ways = set(WAYS)
        """Ways to place keys in which all of them lie where they should."""

    def add(self, key: bytes, partition: int, partitions: int) -> None:
        self.ways = {way for way in self.ways if WAYS[way](key, partitions) == partition}
        if len(self.keys) < ENOUGH:
            self.keys.add(key)

    @property
    def known(self) -> bool:
        """Whether enough was seen to say how keys are placed."""
        return len(self.keys) >= ENOUGH


class Placement:
    """Looks at records on their way to the tasks of a process."""

    def __init__(self) -> None:
        self._parts: dict[int, tuple[SubTopology, dict[str, tuple[str, ...]]]] = {}
        self._samples: dict[tuple[str, int], Sample] = {}
        self._told: set[str] = set()

    def look(self, part: SubTopology, batch: Batch) -> str | None:
        """What is wrong with where a batch's records lie; None when nothing is, or it was said before."""
        known = self._parts.get(part.id)
        if known is None or known[0] is not part:
            known = self._parts[part.id] = (part, meetings(part))
        steps = [step for step, topics in known[1].items() if batch.topic in topics] if known[1] else ()
        partitions = part.topic_partitions[batch.topic]
        if not steps or partitions < 2 or batch.topic in self._told:
            return None
        sample = self._samples.setdefault((batch.topic, batch.partition), Sample())
        some = batch.keys[: max(1, FIRST - sample.looked)]
        sample.looked += len(some)
        for key in filter(None, some):  # null and empty keys go anywhere
            sample.add(key, batch.partition, partitions)
            for step in steps:
                text = self._judged(part, step, known[1][step], (batch.topic, batch.partition), key, partitions)
                if text is not None:
                    self._told.add(batch.topic)
                    return text
        return None

    def _judged(
        self, part: SubTopology, step: str, topics: tuple[str, ...], here: tuple[str, int], key: bytes, partitions: int
    ) -> str | None:
        """What is wrong with a topic, the last key of which that was looked at is `key`, beside others."""
        topic, partition = here
        mine = self._samples[here]
        nodes = dict(part.inputs)
        for other in topics:
            if isinstance(nodes[other], Repartition):
                if MURMUR2 in mine.ways:
                    continue
                pairs = [(topic, (key,), other, MURMUR2)]
            else:
                theirs = self._samples.get((other, partition))
                if other == topic or theirs is None or not (theirs.known and mine.known) or mine.ways & theirs.ways:
                    continue
                pairs = [(topic, (key, *mine.keys), other, way) for way in theirs.ways]
                pairs += [(other, tuple(theirs.keys), topic, way) for way in mine.ways]
            for odd_one, keys, right_one, way in pairs:
                for odd in keys:
                    should = WAYS[way](odd, partitions)
                    if should != partition:
                        return misplaced(odd_one, step, right_one, odd, partition, should, way)
        return None


def misplaced(topic: str, step: str, other: str, key: bytes, partition: int, should: int, way: str) -> str:
    """What to say of a key that does not lie where the other topics of a step have it."""
    return (
        f"step {step!r} cannot find the records of one key together: in topic {topic!r} the key {key!r} lies in "
        f"partition {partition}, in topic {other!r} it lies in partition {should} ({way}). Their producers choose "
        "partitions in different ways: confluent-kafka and others that are built on librdkafka hash keys by CRC32 "
        "unless they are told otherwise, Java and Tidemill by murmur2. Put .repartition() behind the source of "
        f"{topic!r}, or set partitioner=murmur2_random in its producer and write the topic again"
    )
