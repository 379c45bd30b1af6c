"""The files that belong to a savepoint itself: records in flight, and stores in memory.

A file is a sequence of length-prefixed records: 4 bytes, big-endian, and as many of MessagePack. A record of a topic is
`[key, value, timestamp, headers]`, an entry of a store `[store, key, value]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ..snapshots.envelope import sha256
from ..snapshots.savepoint import SavepointFile, folder_of
from ..snapshots.snapshot_files import checksum_of
from ..snapshots.storage import Storage, StorageError

__all__ = ["MOST_BYTES", "RecordFiles", "MemoryEntry", "TopicRecord", "read_records"]

MOST_BYTES = 4 << 20
"""A file is closed when it is longer than this."""
LENGTH = 4


class TopicRecord(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record of a repartition topic."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes | None]] | None = None


class MemoryEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An entry of a store in memory."""

    store: str
    key: bytes
    value: bytes


R = TypeVar("R", TopicRecord, MemoryEntry)


class RecordFiles:
    """Files of one sequence of records, uploaded one after the other."""

    def __init__(
        self,
        storage: Storage,
        application: str,
        path: str,
        scratch: Path,
        passed: Callable[[int], None],
    ) -> None:
        """`path` is that of a file without its place, below the folder of savepoints.

        `scratch` is a directory for one file at a time, made on demand. `passed` is called with the bytes of each piece
        before it is sent.
        """
        self._storage = storage
        self._application = application
        self._path = path
        self._scratch = scratch
        self._passed = passed
        self._encoder = msgspec.msgpack.Encoder()
        self._pieces: list[bytes] = []
        self._size = 0
        self._files: list[SavepointFile] = []

    def append(self, record: TopicRecord | MemoryEntry) -> None:
        """Add a record. Raises StorageError, or what `passed` raises."""
        raw = self._encoder.encode(record)
        self._pieces.append(len(raw).to_bytes(LENGTH, "big") + raw)
        self._size += LENGTH + len(raw)
        if self._size > MOST_BYTES:
            self._upload()

    def finish(self) -> list[SavepointFile]:
        """Upload the rest, and return the files."""
        if self._pieces:
            self._upload()
        return self._files

    def _upload(self) -> None:
        content, count = b"".join(self._pieces), len(self._pieces)
        self._pieces, self._size = [], 0
        place = f"{self._path}-{len(self._files)}"
        self._scratch.mkdir(parents=True, exist_ok=True)
        local = self._scratch / "records"
        local.write_bytes(content)
        self._storage.put(local, f"{folder_of(self._application)}/{place}", self._passed)
        local.unlink()
        self._files.append(SavepointFile(place, len(content), sha256(content), count))


def read_records(
    storage: Storage, application: str, files: Iterable[SavepointFile], kind: type[R], scratch: Path
) -> Iterator[R]:
    """Download files one after the other, and yield their records.

    Raises StorageError for a file that is missing or damaged, before any record of it.
    """
    decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(kind)
    scratch.mkdir(parents=True, exist_ok=True)
    for file in files:
        local = scratch / "records"
        path = f"{folder_of(application)}/{file.path}"
        storage.get(path, local, lambda size: None)
        if checksum_of(local) != file.sha256:
            raise StorageError(f"{storage.url}/{path} is damaged: the checksum is wrong")
        with local.open("rb") as content:
            while prefix := content.read(LENGTH):
                yield decoder.decode(content.read(int.from_bytes(prefix, "big")))
        local.unlink()
