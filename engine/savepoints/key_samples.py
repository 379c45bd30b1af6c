"""Looks at the keys of input topics, to know how their producers choose partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from ...state.topic_partition import TopicPartition
from ..kafka.partitioners import PARTITIONERS
from .in_flight import TopicRecords

__all__ = ["explaining", "sampled_keys"]

SAMPLE: Final = 200
"""Records of a partition to look at."""
POLLS: Final = 50
WAIT_SECONDS: Final = 0.1


def sampled_keys(
    reader: TopicRecords, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, set[bytes]]:
    """Return some keys of each partition; null and empty keys may be in any, and are left out.

    `reader` is closed afterwards.
    """
    found: dict[TopicPartition, set[bytes]] = {key: set() for key in begins}
    left = {key: SAMPLE for key, begin in begins.items() if begin < ends[key]}
    reader.assign({key: begins[key] for key in left})
    try:
        for _ in range(POLLS):
            if not left:
                break
            polled = reader.poll(SAMPLE, WAIT_SECONDS)
            for batch in polled.batches:
                key = (batch.topic, batch.partition)
                if key in left:
                    found[key].update(filter(None, batch.keys[: left[key]]))
                    left[key] -= len(batch.keys)
            done = [key for key, count in left.items() if count <= 0 or polled.ends.get(key, 0) >= ends[key]]
            reader.unassign(done)
            for key in done:
                del left[key]
    finally:
        reader.close()
    return found


def explaining(keys: Mapping[TopicPartition, Iterable[bytes]], partitions: int) -> list[str]:
    """Return the partitioners that put all keys where they are."""
    return [
        name
        for name, chosen in PARTITIONERS.items()
        if all(chosen(key, partitions) == number for (_, number), some in keys.items() for key in some)
    ]
