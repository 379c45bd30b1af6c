"""The content of a savepoint: the entries of its stores, task by task and verified."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...state.rocks import RocksMemory, RocksStore
from ..snapshots.envelope import Unreadable
from ..snapshots.manifest import Manifest, decode, manifest_name, root_of
from ..snapshots.savepoint import Savepoint, SavepointTask
from ..snapshots.snapshot_files import fetch_snapshot
from ..snapshots.storage import Missing, Storage, StorageError
from .record_files import MemoryEntry, read_records

__all__ = ["MEMORY", "SavepointContent", "manifest_of"]

MEMORY = 64 << 20


class SavepointContent:
    """Reads the stores of a savepoint, one task at a time."""

    def __init__(self, storage: Storage, savepoint: Savepoint, scratch: Path) -> None:
        """`scratch` is a directory of its own, made on demand."""
        self._storage = storage
        self._savepoint = savepoint
        self._scratch = scratch
        self._memory = RocksMemory(MEMORY)

    def manifests(self) -> dict[str, Manifest]:
        """Return the manifests of all tasks with stores on disk.

        Raises StorageError if one is missing.
        """
        return {
            task.task: manifest_of(self._storage, self._savepoint, task)
            for task in self._savepoint.tasks
            if task.snapshot
        }

    def entries(self, task: SavepointTask, manifest: Manifest | None) -> Iterator[tuple[str, bytes, bytes]]:
        """Yield store, key and stored value of all entries of a task.

        Raises StorageError or StateError.
        """
        application = self._savepoint.application
        if manifest is not None:
            with self._opened(task, manifest) as store:
                for name in manifest.stores:
                    if name in task.loaded:
                        continue
                    for key, value in store.scan(name, b"", None):
                        yield name, key, value
        for entry in read_records(self._storage, application, task.memory, MemoryEntry, self._scratch / "memory"):
            yield entry.store, entry.key, entry.value

    @contextmanager
    def _opened(self, task: SavepointTask, manifest: Manifest) -> Generator[RocksStore]:
        path = self._scratch / task.task
        try:
            fetch_snapshot(self._storage, manifest, path)
            store = RocksStore(path, self._savepoint.application, task.task, self._memory)
            try:
                yield store
            finally:
                store.close()
        finally:
            shutil.rmtree(path, ignore_errors=True)


def manifest_of(storage: Storage, savepoint: Savepoint, task: SavepointTask) -> Manifest:
    """Return the manifest of a task with stores on disk. Raises StorageError."""
    path = f"{root_of(savepoint.application, task.task)}/{manifest_name(task.snapshot)}"
    try:
        return decode(storage.read(path))
    except (Missing, Unreadable) as error:
        raise StorageError(
            f"savepoint {savepoint.name}: the snapshot of task {task.task} cannot be used: {error} "
            f"({storage.url}/{path})"
        ) from error
