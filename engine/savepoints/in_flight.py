"""Reads what repartition topics held at a cut that was not processed, and saves it.

Only records of committed transactions are read. The end of a partition was noted as an uncommitted reader sees it, and
is reached when all transactions before it are decided. Processes keep the records until the savepoint is made.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

from ...state.topic_partition import TopicPartition
from ..errors import Retryable
from ..kafka.consumer import Polled
from ..kafka.errors import OffsetGone
from ..snapshots.savepoint import InFlight, file_path
from ..snapshots.storage import Storage
from .record_files import RecordFiles, TopicRecord

__all__ = ["FlightReader", "RecordsGone", "TopicRecords"]

BATCH = 5_000
WAIT_SECONDS = 0.1


class RecordsGone(Exception):
    """Records in flight were deleted before they were read; the text says which."""


class TopicRecords(Protocol):
    """A reader of committed records."""

    def assign(self, offsets: Mapping[TopicPartition, int]) -> None: ...
    def unassign(self, keys: Iterable[TopicPartition]) -> None: ...
    def poll(self, limit: int, timeout: float) -> Polled: ...
    def close(self) -> None: ...


class FlightReader:
    """Saves records in flight."""

    def __init__(
        self,
        storage: Storage,
        application: str,
        reader: TopicRecords,
        scratch: Path,
        alive: Callable[[int], None],
    ) -> None:
        """`alive` is called regularly, with the bytes that are sent next or 0."""
        self._storage = storage
        self._application = application
        self._reader = reader
        self._scratch = scratch
        self._alive = alive

    def read(self, attempt: str, flying: Mapping[TopicPartition, tuple[int, int]]) -> list[InFlight]:
        """Save the records between begin and end of each partition.

        Raises RecordsGone, Retryable or StorageError.
        """
        files = {
            key: RecordFiles(
                self._storage,
                self._application,
                file_path(attempt, f"{key[0]}-{key[1]}"),
                self._scratch / "in-flight",
                self._alive,
            )
            for key in flying
        }
        try:
            self._read(flying, files)
            return [InFlight(*key, begin, end, files[key].finish()) for key, (begin, end) in sorted(flying.items())]
        finally:
            self._reader.close()
            shutil.rmtree(self._scratch / "in-flight", ignore_errors=True)

    def _read(
        self, flying: Mapping[TopicPartition, tuple[int, int]], files: Mapping[TopicPartition, RecordFiles]
    ) -> None:
        left = {key: begin for key, (begin, end) in flying.items() if begin < end}
        self._reader.assign(left)
        while left:
            self._alive(0)
            try:
                polled = self._reader.poll(BATCH, WAIT_SECONDS)
            except (OffsetGone, Retryable) as failure:
                raise RecordsGone(str(failure)) from failure
            for batch in polled.batches:
                key = (batch.topic, batch.partition)
                if key not in left:
                    continue
                end = flying[key][1]
                for place, offset in enumerate(batch.offsets):
                    if offset >= end:
                        break
                    headers = None if batch.headers is None else list(batch.headers[place] or ()) or None
                    files[key].append(
                        TopicRecord(batch.keys[place], batch.values[place], batch.timestamps[place], headers)
                    )
                left[key] = batch.offsets[-1] + 1
            for key, end in polled.ends.items():
                if key in left:
                    left[key] = max(left[key], end)
            done = [key for key in left if left[key] >= flying[key][1]]
            self._reader.unassign(done)
            for key in done:
                del left[key]
