"""Records that wait in input topics, and would be processed by a task without their state.

When an input topic gains partitions, records stay where they are, and the keys of new records lie elsewhere. A record
in an old partition is processed by the task of that partition, so all records whose keys move must be processed before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...state.topic_partition import TopicPartition
from ..errors import ConfigError
from ..kafka.partitioners import PARTITIONERS
from ..savepoints.in_flight import TopicRecords
from .parts import Part
from .rules import splits

__all__ = ["refuse_unread", "waiting_partitions"]

BATCH = 5_000
WAIT_SECONDS = 0.2


def waiting_partitions(parts: Sequence[Part]) -> list[TopicPartition]:
    """Return the partitions of input topics in which records of keys that move can wait."""
    return [
        (topic, number)
        for part in parts
        if part.moves and part.stores
        for topic in part.sources
        for number in range(part.old)
        if number < part.now.topic_partitions[topic]
    ]


def refuse_unread(
    parts: Sequence[Part],
    partitioners: Mapping[int, str],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    reader: TopicRecords,
) -> None:
    """Raise ConfigError if such a record waits.

    `partitioners` are by sub-topology; `begins` are the positions and `ends` the ends of partitions. `reader` is
    closed.
    """
    readers = {topic: part for part in parts for topic in part.sources}
    left = {key: begin for key, begin in begins.items() if begin < ends[key]}
    reader.assign(left)
    try:
        while left:
            polled = reader.poll(BATCH, WAIT_SECONDS)
            for batch in polled.batches:
                key = (batch.topic, batch.partition)
                if key in left:
                    part = readers[batch.topic]
                    for offset, raw in zip(batch.offsets, batch.keys, strict=True):
                        if offset < ends[key] and raw is not None:
                            _refuse(part, partitioners[part.id], key, offset, raw)
                    left[key] = batch.offsets[-1] + 1
            for key, end in polled.ends.items():
                if key in left:
                    left[key] = max(left[key], end)
            done = [key for key in left if left[key] >= ends[key]]
            reader.unassign(done)
            for key in done:
                del left[key]
    finally:
        reader.close()


def _refuse(part: Part, partitioner: str, place: TopicPartition, offset: int, key: bytes) -> None:
    topic, partition = place
    there = PARTITIONERS[partitioner](key, part.new)
    if splits(part.old, part.new) and there == partition:
        return
    why = (
        f"with {part.new} partitions, records of its key go to partition {there}"
        if there != partition
        else "tasks that are at different times become one, for which it could be late"
    )
    raise ConfigError(
        f"topic {topic!r}, partition {partition} has records that were not processed, such as that of key {key!r} at "
        f"offset {offset}: {why}. They must be processed with {part.old} partitions: before partitions are added, let "
        "the producers pause and the application read to the end, then stop it. If the partitions are there already, "
        "the ways out are a savepoint from after those records, or `tidemill reset`, which processes all inputs again"
    )
