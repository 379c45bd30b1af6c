"""The decoders of a task's inputs, and the records that an error policy drops there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ...operators.errors import RecordError
from ...operators.graph.codecs import Decoder, Records, decoder
from ...operators.graph.history import RowUnpacker
from ...operators.graph.topology import Repartition, Source
from ...operators.history.packed_rows import parts_of
from ...operators.policy import ErrorPolicy
from ...operators.record import Batch
from ...state.topic_partition import TopicPartition
from ..dropped_records import SkippedRecords
from ..plan.plan import SubTopology
from ..watermarks.row_positions import position_of
from ..watermarks.watermarks import NOTHING, InputProgress
from .buffer import BATCH, LEAST

__all__ = ["InputReaders", "PackedBatch", "Readable", "decode_batch"]

OBJECTS = 4
"""How many times the bytes of packed rows their keys and values take as objects, about."""


def decode_batch(
    reader: Decoder, batch: Batch, now: int, policy: ErrorPolicy, skips: SkippedRecords, task: str | None = None
) -> Records:
    """Return the records of a batch; under `fail`, raise RecordError for the first bad one."""
    records: Records = []
    rest: Batch | None = batch
    while rest is not None:
        try:
            last = reader.decode(rest, now)
            return records + last if records else last
        except RecordError as error:
            error.at(batch.topic, batch.partition, task)
            if policy is ErrorPolicy.FAIL:
                raise
            skips.add(error.step, error.counted, error)
            records += error.done
            rest = rest.after(error.index)
    return records


class Readable(NamedTuple):
    """Records, the position after them, and their bytes in Kafka."""

    records: Records | PackedBatch
    end: int
    size: int


class InputReaders:
    """The decoders of one task."""

    def __init__(self, subtopology: SubTopology, policy: ErrorPolicy, skips: SkippedRecords, task: str) -> None:
        self._nodes = dict(subtopology.inputs)
        self._decoders = {topic: (node.id, decoder(node)) for topic, node in subtopology.inputs}
        self._policies = {topic: node.policy or policy for topic, node in subtopology.inputs}
        written = {topic: node.history for topic, node in subtopology.history_writers.items()}
        self._unpackers = {topic: of.history.unpacker(of.given) for topic, of in written.items() if of is not None}
        self._skips = skips
        self._task = task

    def node(self, topic: str) -> int:
        """Return the id of the node that a topic is read for."""
        return self._nodes[topic].id

    def is_internal(self, topic: str) -> bool:
        """Return whether a topic is that of a repartition."""
        return isinstance(self._nodes[topic], Repartition)

    def odd_keys(self, topic: str) -> bool:
        """Return whether there was a key that equals keys with other bytes in Python."""
        return self._decoders[topic][1].odd_keys

    def decode(self, batch: Batch, now: int) -> Records:
        """Return the records of a batch; under `fail`, raise RecordError for the first bad one."""
        return decode_batch(
            self._decoders[batch.topic][1], batch, now, self._policies[batch.topic], self._skips, self._task
        )

    def read(self, batch: Batch | None, position: int, end: int, size: int, now: int) -> Iterator[Readable]:
        """Return the records of a batch from a position on; it ends before the position `end`.

        Raises RecordError as `decode` does. The rows that are packed in a record are made later.
        """
        unpacker = None if batch is None else self._unpackers.get(batch.topic)
        if batch is None or unpacker is None:
            yield Readable([] if batch is None else self.decode(batch, now), end, size)
            return
        behind = position
        for part, count in parts_of(batch):
            behind = position_of(part.offsets[-1] + 1)
            if count is None:
                numbered = part._replace(offsets=[position_of(offset) for offset in part.offsets])
                yield Readable(self.decode(numbered, now), behind, part.size)
            else:
                first = max(0, position - position_of(part.offsets[0]))
                yield Readable(PackedBatch(self, unpacker, part, count, first, now), behind, part.size)
        if behind < end:
            yield Readable([], end, 0)

    def restore_newest(
        self, inputs: Iterable[TopicPartition], seen: Mapping[TopicPartition, InputProgress]
    ) -> dict[TopicPartition, int]:
        """Restore and return the newest time of each input that gives it to records without one."""
        found: dict[TopicPartition, int] = {}
        for key in inputs:
            _, reader = self._decoders[key[0]]
            if reader.newest is not None:
                found[key] = reader.newest = seen.get(key, NOTHING).newest
        return found

    def drops(self) -> dict[tuple[str, str], int]:
        """Return the records that decoders have dropped, by step and reason."""
        read = ((self._nodes[topic].name, reader) for topic, (_, reader) in self._decoders.items())
        return {(name, reason): count for name, reader in read for reason, count in reader.drops.items() if count}

    def doubts(self) -> dict[str, str]:
        """Return the warnings about timestamps that seem to be in another unit, by source."""
        read = ((self._nodes[topic], reader) for topic, (_, reader) in self._decoders.items())
        return {node.name: at.doubt for node, at in read if isinstance(node, Source) and at.doubt is not None}


@dataclass(frozen=True)
class PackedBatch:
    """The rows in a record of a history, from the row `first` on."""

    readers: InputReaders
    unpacker: RowUnpacker
    batch: Batch
    count: int
    first: int
    now: int

    def memory(self, size: int) -> int:
        """Return the bytes of memory that they will need, about; `size` is that in Kafka."""
        return OBJECTS * size + (LEAST + 8) * self.count + BATCH

    def records(self) -> Records:
        """Make them. Raises RecordError."""
        [offset], [data] = self.batch.offsets, self.batch.values
        columns = self.unpacker.unpack(data or b"")
        keys, values, times = (column[self.first :] if self.first else column for column in columns)
        positions = list(range(position_of(offset, self.first), position_of(offset, self.count)))
        made = self.batch._replace(
            keys=keys, values=values, timestamps=times, offsets=positions, headers=None, made=True
        )
        return self.readers.decode(made, self.now)
