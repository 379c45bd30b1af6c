"""Takes over the rows of Faust's own worker: the changelog topics of its tables.

A task that has no rows of a table reads the partition of Faust's changelog with its number, before its first event. The
rows, and the offset that they lead to, are in one commit; so a process that is killed meanwhile goes on at that offset,
and what was taken over once is not read again. Agents begin when the last of it is committed.

Keys are decoded and encoded again: the JSON of an environment without orjson has spaces that other keys do not have.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from ....operators.record import Batch
from ....state.cache import StateCache
from ...errors import Fatal
from ...kafka.consumer import InputConsumer
from ...kafka.errors import OffsetGone
from .rows import IMPORTED
from .tables import TaskTableStore

__all__ = ["FaustChangelog", "TableImports"]

LOG: Final = logging.getLogger("tidemill.faust")
BEGINNING: Final = -2
"""The offset that stands for the first record of a partition."""
RECORDS: Final = 5_000

Caches = Mapping[str, StateCache[bytes, bytes]]


class FaustChangelog(NamedTuple):
    """Faust's changelog topic of a table."""

    topic: str
    partitions: int
    table: TaskTableStore


class ImportProgress(msgspec.Struct, array_like=True):
    """How far a changelog has been taken over; it is kept as a row of the table."""

    offset: int
    done: bool
    records: int = 0


class TableImports:
    """What one task takes over, table by table at the same time."""

    def __init__(self, partition: int, changelogs: Mapping[str, FaustChangelog], caches: Caches, options: Any) -> None:
        """Create it; `options` are those of a consumer of committed records."""
        self._partition = partition
        self._caches = caches
        self._options = options
        self._consumer: InputConsumer | None = None
        self._open = {
            name: progress
            for name, changelog in changelogs.items()
            if partition < changelog.partitions and (progress := self._progress(name)) is not None
        }
        self._names = {changelogs[name].topic: name for name in self._open}
        self._changelogs = changelogs

    @property
    def committed(self) -> bool:
        """Whether everything is taken over and committed."""
        return all(progress.done for progress in self._open.values()) and all(
            self._progress(name) is None for name in self._open
        )

    def step(self) -> None:
        """Take over the records that have arrived."""
        if all(progress.done for progress in self._open.values()):
            return
        if self._consumer is None:
            self._consumer = InputConsumer(self._options)
            self._consumer.assign(
                {
                    (topic, self._partition): self._open[name].offset or BEGINNING
                    for topic, name in self._names.items()
                    if not self._open[name].done
                }
            )
        try:
            polled = self._consumer.poll(RECORDS, 0.01)
        except OffsetGone as gone:  # retention has deleted records meanwhile: those that are left are repeated
            self._consumer.rewind({(gone.topic, self._partition): BEGINNING})
            return
        for batch in polled.batches:
            name = self._names[batch.topic]
            self._take(self._changelogs[name].table, batch)
            progress = self._open[name]
            self._put(name, ImportProgress(batch.offsets[-1] + 1, False, progress.records + len(batch.offsets)))
        for topic, _ in polled.ends:
            progress = self._open[self._names[topic]]
            self._put(self._names[topic], ImportProgress(progress.offset, True, progress.records))
            LOG.info("took over %d records of %r, partition %d", progress.records, topic, self._partition)

    def close(self) -> None:
        """Stop reading."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _progress(self, name: str) -> ImportProgress | None:
        """Return what is committed, None if there is nothing to take over any more."""
        rows = self._caches[name].committed()
        data = rows.get(IMPORTED)
        if data is None:
            return ImportProgress(0, False) if next(rows.items(), None) is None else None
        progress = msgspec.msgpack.decode(data, type=ImportProgress)
        return None if progress.done else progress

    def _put(self, name: str, progress: ImportProgress) -> None:
        self._open[name] = progress
        self._caches[name].put(IMPORTED, msgspec.msgpack.encode(progress))

    def _take(self, table: TaskTableStore, batch: Batch) -> None:
        cache = self._caches[table.table.name]
        for key, value, at, offset in zip(batch.keys, batch.values, batch.timestamps, batch.offsets, strict=True):
            if key is None:
                continue
            try:
                cache.put(*table.taken_over(key, value, at, cache.__getitem__))
            except Exception as failure:
                raise Fatal(
                    f"a record of Faust's changelog {batch.topic!r}, partition {batch.partition}, offset {offset}, "
                    f"cannot be taken over into table {table.table.name!r}: {type(failure).__name__}: {failure}; give "
                    "the table the types and serializers that it was written with, or delete the topic to begin with "
                    "an empty table"
                ) from failure
