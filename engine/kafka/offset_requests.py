"""OffsetCommit and OffsetFetch: requests for the committed offsets of a group.

They are written in one fixed version each, as those in `protocol.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ...state.topic_partition import TopicPartition
from .encoding import Request, RequestWriter, ResponseReader

__all__ = ["OffsetFetchResponse", "commit_offsets", "fetch_offsets"]


def commit_offsets(
    group: str, generation: int, member: str, instance: str | None, offsets: Mapping[TopicPartition, tuple[int, str]]
) -> Request[dict[TopicPartition, int]]:
    """Make a request to commit offsets outside a transaction, answered by errors per partition."""
    w = RequestWriter().string(group).int32(generation).string(member).string(instance)
    topics = by_topic(offsets)
    w.int32(len(topics))
    for topic, partitions in topics.items():
        w.string(topic).int32(len(partitions))
        for partition in partitions:
            offset, text = offsets[topic, partition]
            w.int32(partition).int64(offset).int32(-1).string(text)

    def read(r: ResponseReader) -> dict[TopicPartition, int]:
        r.int32()
        errors: dict[TopicPartition, int] = {}
        for _ in r.count():
            topic = r.string() or ""
            for _ in r.count():
                partition = r.int32()
                errors[topic, partition] = r.int16()
        return errors

    return Request(8, 7, w.done(), read)


class OffsetFetchResponse(NamedTuple):
    """The response to OffsetFetch: (offset or -1, metadata, error code) by partition."""

    error: int
    offsets: dict[TopicPartition, tuple[int, str, int]]


def fetch_offsets(
    group: str, partitions: Iterable[TopicPartition] | None, *, stable: bool
) -> Request[OffsetFetchResponse]:
    """Make a request for committed offsets; `stable` refuses while a transaction has some.

    None asks for all that the group has committed.
    """
    topics = {} if partitions is None else by_topic(partitions)
    w = RequestWriter().compact_string(group).varint(0 if partitions is None else len(topics) + 1)
    for topic, numbers in topics.items():
        w.compact_string(topic).varint(len(numbers) + 1)
        for number in numbers:
            w.int32(number)
        w.tags()
    w.int8(1 if stable else 0).tags()

    def read(r: ResponseReader) -> OffsetFetchResponse:
        r.int32()
        offsets: dict[TopicPartition, tuple[int, str, int]] = {}
        for _ in r.compact_count():
            topic = r.compact_string() or ""
            for _ in r.compact_count():
                partition, offset, _epoch = r.int32(), r.int64(), r.int32()
                text, error = r.compact_string() or "", r.int16()
                offsets[topic, partition] = (offset, text, error)
                r.tags()
            r.tags()
        return OffsetFetchResponse(r.int16(), offsets)

    return Request(9, 7, w.done(), read, flexible=True)


def by_topic(partitions: Iterable[TopicPartition]) -> dict[str, list[int]]:
    """Return partition numbers by topic, sorted."""
    topics: dict[str, list[int]] = {}
    for topic, number in sorted(partitions):
        topics.setdefault(topic, []).append(number)
    return topics
